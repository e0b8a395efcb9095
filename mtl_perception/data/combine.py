# SPDX-License-Identifier: Apache-2.0
"""Data sets made of data sets: one after the other, every n-th sample, another label set."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from mtl_perception.conventions import InvalidInput
from mtl_perception.data.sample import Dataset, Sample
from mtl_perception.labels import LabelSet, remap_table


class Concatenated:
    """Several data sets of one label set, one after the other.

    The names of samples get that of their data set in front; of two data sets of one name the
    second is called "name#2".
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        """Join.

        Raises:
            InvalidInput: no data set, or label sets that differ.
        """
        names: list[str] = []
        for dataset in datasets:
            same = sum(n.partition("#")[0] == dataset.name for n in names)
            names.append(f"{dataset.name}#{same + 1}" if same else dataset.name)
        sets = {d.label_set.name: d.label_set for d in datasets if d.label_set is not None}
        if not names:
            raise InvalidInput("no data sets to join")
        if len(sets) > 1:
            raise InvalidInput(f"{' + '.join(names)}: label sets {sorted(sets)} differ; remap them")
        self.name = " + ".join(names)
        self.label_set: LabelSet | None = next(iter(sets.values()), None)
        self._datasets, self._names = tuple(datasets), names
        self._ends = list(accumulate(map(len, datasets)))

    def __len__(self) -> int:
        """Return the count of samples."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Read a sample; raises what its data set raises."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        which = bisect_right(self._ends, index)
        dataset = self._datasets[which]
        sample = dataset[index - self._ends[which] + len(dataset)]
        return replace(sample, name=f"{self._names[which]}/{sample.name}")


class EveryNth:
    """Each n-th sample of a data set, beginning with the first."""

    def __init__(self, dataset: Dataset, step: int) -> None:
        """Take every ``step``-th sample.

        Raises:
            InvalidInput: ``step`` is below 1.
        """
        if step < 1:
            raise InvalidInput(f"every {step}-th sample: want 1 or more")
        self._dataset, self._rows = dataset, range(0, len(dataset), step)
        self.name, self.label_set = dataset.name, dataset.label_set

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Read a sample; raises what the data set raises."""
        return self._dataset[self._rows[index]]


class Remapped:
    """A data set with its labels in another label set; classes without counterpart become 255."""

    def __init__(self, dataset: Dataset, label_set: LabelSet) -> None:
        """Bring labels to ``label_set`` by the table that the data set's own set has for it.

        Raises:
            InvalidInput: the data set has no labels, or no class of it has a counterpart.
        """
        if dataset.label_set is None:
            raise InvalidInput(f"{dataset.name} has no labels to bring to {label_set.name!r}")
        self._table = remap_table(dataset.label_set, label_set)
        if (self._table == 255).all():
            raise InvalidInput(
                f"{dataset.name}: no class of {dataset.label_set.name!r} is known in "
                f"{label_set.name!r}"
            )
        self._dataset, self.name = dataset, dataset.name
        self.label_set: LabelSet | None = label_set

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """Read a sample; raises what the data set raises."""
        sample = self._dataset[index]
        if sample.labels is None:
            return sample
        return replace(sample, labels=self._table[sample.labels])

# SPDX-License-Identifier: Apache-2.0
"""Cutting a TFLite graph ahead of its argmax, and graphs that lie about their tensors."""

import pytest
from ai_edge_litert import schema_py_generated as schema

from mtl_perception.inference.tflite_graph import expose_scores
from mtl_perception.models import MODELS, ModelUnsupported


@pytest.fixture
def graph(shared_data) -> bytearray:
    return bytearray((shared_data / "models" / MODELS["deeplab-ade20k"].file).read_bytes())


def operator(graph: bytearray, from_the_end: int) -> schema.Operator:
    subgraph = schema.Model.GetRootAs(graph, 0).Subgraphs(0)
    return subgraph.Operators(subgraph.OperatorsLength() - from_the_end)


def test_the_cut_graph_ends_in_the_scores(graph):
    whole = schema.Model.GetRootAs(graph, 0).Subgraphs(0)
    content, scores = expose_scores(bytes(graph))
    cut = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    assert cut.OperatorsLength() == whole.OperatorsLength() - 2
    assert cut.Outputs(0) == operator(graph, 2).Inputs(0)
    assert scores.shape[2] == 32
    assert scores.scale > 0


@pytest.mark.parametrize("index", [-1, 99_999])
def test_scores_that_no_tensor_holds_are_refused(graph, index):
    operator(graph, 2).InputsAsNumpy()[0] = index
    with pytest.raises(ModelUnsupported, match=f"tensor {index}"):
        expose_scores(bytes(graph))


@pytest.mark.parametrize("index", [-1, 99_999])
def test_an_argmax_of_something_else_is_refused(graph, index):
    operator(graph, 1).InputsAsNumpy()[0] = index
    with pytest.raises(ModelUnsupported, match="does not feed"):
        expose_scores(bytes(graph))

# SPDX-License-Identifier: Apache-2.0
"""Small experiments on what each method's idea is worth: equal budgets, several seeds, a table."""

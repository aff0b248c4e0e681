"""The parts of the `sagemaker` SDK that render a pipeline's definition, and the one step of our own.

Importing this imports the SDK, which takes seconds: only `pipeline_definition` does, when a definition is asked for.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _own_logging() -> Iterator[None]:
    """The SDK makes the whole process tell what it does, on standard error; what was set before is set again."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    logging.getLogger("sagemaker.config").setLevel(logging.WARNING)  # it logs configuration files that aren't there
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


with warnings.catch_warnings(), _own_logging():
    warnings.simplefilter("ignore")
    from sagemaker.core.workflow.conditions import ConditionLessThanOrEqualTo
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.core.workflow.functions import Join, JsonGet
    from sagemaker.core.workflow.parameters import ParameterInteger, ParameterString
    from sagemaker.core.workflow.pipeline_context import PipelineSession
    from sagemaker.core.workflow.properties import Properties, PropertyFile
    from sagemaker.mlops.workflow.condition_step import ConditionStep
    from sagemaker.mlops.workflow.pipeline import Pipeline
    from sagemaker.mlops.workflow.retry import SageMakerJobExceptionTypeEnum, SageMakerJobStepRetryPolicy
    from sagemaker.mlops.workflow.steps import ConfigurableRetryStep, StepTypeEnum

__all__ = [
    "ConditionLessThanOrEqualTo",
    "ConditionStep",
    "ExecutionVariables",
    "Join",
    "JsonGet",
    "ParameterInteger",
    "ParameterString",
    "Pipeline",
    "PipelineSession",
    "PropertyFile",
    "RequestStep",
    "SageMakerJobExceptionTypeEnum",
    "SageMakerJobStepRetryPolicy",
    "StepTypeEnum",
]


class RequestStep(ConfigurableRetryStep):
    """A step whose request is made already.

    Args:
        shapes: of its answers, whose members later steps may refer to.
        files: JSON files among its outputs that conditions read.
    """

    def __init__(
        self, name: str, kind: Any, request: Any, shapes: list[str], retries: list[Any], files: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(name, kind, retry_policies=retries)
        self._request = request
        self._properties = Properties(step_name=name, step=self, shape_names=shapes)
        self._files = files

    @property
    def arguments(self) -> Any:
        """What SageMaker's operation is called with."""
        return self._request

    @property
    def properties(self) -> Any:
        """What later steps may refer to."""
        return self._properties

    def to_request(self) -> Any:
        """The step as the definition has it."""
        reported = {"PropertyFiles": [file.expr for file in self._files]} if self._files else {}
        return super().to_request() | reported

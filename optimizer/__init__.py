"""The dispatcher: schedules every flexible asset at least cost within every limit. kW and kWh."""

from optimizer.dispatcher import Dispatcher, dispatch
from optimizer.problem import DispatchProblem
from optimizer.settlement import settle, uncontrolled

__all__ = ["DispatchProblem", "Dispatcher", "dispatch", "settle", "uncontrolled"]

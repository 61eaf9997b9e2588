"""A report as text."""

from typing import Any


def report_table(report: dict[str, Any]) -> str:
    """A report's figures as lines: name, figure, interval, how to read it or why there is none."""
    lines = []
    for result in report["results"]:
        run, clip = report["runs"][result["run"]], report["clips"][result["clip"]]
        if len(report["results"]) > 1:
            lines.append(f"{run['name']} on {clip['name']}")
        notes = {metric["name"]: metric["note"] for metric in report["metrics"]}
        for name, figure in result["metrics"].items():
            lines.append(_line(name, figure, notes[name]))
        lines += _verdict_lines(result)
    for compared in report["comparisons"]:
        lines += _comparison_lines(report, compared)
    return "\n".join(lines)


def _verdict_lines(result: dict[str, Any]) -> list[str]:
    lines = []
    if result["trust"] is not None:
        share, bound = result["trust"]["share"], result["trust"]["bound_db"]
        lines.append(
            f"trusted: {100 * share:.0f} % of the faces ({bound:.1f} dB or better expected)"
        )
    verdict = result["verdict"]
    for finding in (verdict, *verdict["further"]):
        lines.append(f"{finding['sentence']} {finding['advice'].capitalize()}.")
    return lines + [one["sentence"] for one in result["held_back"]]


def _line(name: str, figure: dict[str, Any], note: str) -> str:
    if figure["value"] is None:
        return f"{name:30} {'-':>8}  {'':19}  {figure['reason']}"
    interval = ""
    if figure["low"] is not None and figure["high"] != figure["low"]:
        interval = f"{figure['low']:.4g} to {figure['high']:.4g}"
    return f"{name:30} {figure['value']:>8.4g}  {interval:19}  {note}".rstrip()


def _comparison_lines(report: dict[str, Any], compared: dict[str, Any]) -> list[str]:
    a, b = (report["runs"][compared[side]]["name"] for side in "ab")
    lines = [f"{b} against {a} on {report['clips'][compared['clip']]['name']}"]
    for name, row in compared["metrics"].items():
        if not row["real"]:
            continue
        winner = {"a": f"{a} is better", "b": f"{b} is better"}.get(row["better"], "")
        interval = f"{row['low']:+.4g} to {row['high']:+.4g}"
        lines.append(f"{name:30} {row['difference']:>+8.4g}  {interval:19}  {winner}".rstrip())
    if len(lines) == 1:
        lines.append("no difference is real: every interval includes 0")
    return lines

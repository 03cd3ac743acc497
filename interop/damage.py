"""Whether a check notices what it is there for: files that are damaged on purpose."""
import os
import tempfile


def unnoticed(fresh, damages, problems_of, suffix=""):
    """Writes what `fresh` gives once as it is, then in one damaged way after another; what `problems_of` does not report, or not by its words.

    `damages`: {what: (change, word or words)}.
    """
    missed = []
    with tempfile.TemporaryDirectory(prefix="aq-damage-") as work:
        for number, (what, (change, words)) in enumerate({"nothing": (lambda _: None, ()), **damages}.items()):
            parts, path = fresh(), os.path.join(work, f"{number}{suffix}")
            change(parts)
            parts.write(path)
            problems = problems_of(path)
            words = (words,) if isinstance(words, str) else words
            if not words and problems:
                missed.append(f"what is undamaged fails, {problems[0]}")
            missed += [f"{what} ({word!r} is not in {problems[:4]})" for word in words if not any(word in p for p in problems)]
    return missed

"""Refuses links in Markdown files that lead nowhere in this repository. What lies outside is not asked for."""

import re
import sys
from pathlib import Path
from urllib.parse import unquote

from tracked import ROOT, tracked_files

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^( {0,3})(```|~~~).*?^\1?\2`*\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:")


def main() -> int:
    """Name every broken link; returns the exit code."""
    pages = [path for path in tracked_files() if path.suffix == ".md"]
    count = broken = 0
    for page in pages:
        for link in links(page):
            count += 1
            if problem := _problem(page, link):
                sys.stderr.write(f"{page}: {link}: {problem}\n")
                broken += 1
    sys.stdout.write(f"links: {count} in {len(pages)} pages, {broken} of them broken\n")
    return 1 if broken else 0


def links(page: Path) -> list[str]:
    """Every link on a page that stays in the repository; what stands in code is none."""
    text = CODE.sub("", FENCE.sub("", (ROOT / page).read_text()))
    return [link for link in LINK.findall(text) if not OUTSIDE.match(link)]


def anchors(page: Path) -> set[str]:
    """What can follow `#` in a link to the page: its headings, as forges spell them, and explicit anchors."""
    text = FENCE.sub("", (ROOT / page).read_text())
    slugs: set[str] = set()
    for heading in HEADING.findall(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        while slug in slugs:
            slug += "-1"
        slugs.add(slug)
    return slugs | set(ANCHOR.findall(text))


def _problem(page: Path, link: str) -> str:
    name, _, anchor = unquote(link).partition("#")
    target = (ROOT / page.parent / name).resolve() if name else ROOT / page
    if not target.is_relative_to(ROOT):
        return "it leaves the repository"
    if not target.exists():
        return "there is no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target.relative_to(ROOT)):
        return "there is no such heading"
    return ""


if __name__ == "__main__":
    sys.exit(main())

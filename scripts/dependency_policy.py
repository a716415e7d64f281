#!/usr/bin/env python3
"""Dependency policy: one TLS stack, known licences, no unreviewed duplicate versions.

Reads `cargo metadata`; prints every breach and exits 1 if there is one.
"""
import collections
import json
import re
import subprocess
import sys

# A second TLS or crypto stack costs build time and a second trust store (DEPENDENCIES: one stack, OpenSSL).
BANNED = {
    "rustls": "TLS is OpenSSL",
    "ring": "cryptography is OpenSSL",
    "aws-lc-rs": "cryptography is OpenSSL",
    "aws-lc-sys": "cryptography is OpenSSL",
    "openssl-src": "the system's OpenSSL is used",
}
LICENCES = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}
# Name -> why more than one version cannot be avoided today.
DUPLICATES = {}
try:
    with open("scripts/duplicate-dependencies.txt") as file:
        for line in file:
            line = line.split("#")
            if line[0].strip():
                DUPLICATES[line[0].strip()] = "#".join(line[1:]).strip()
except FileNotFoundError:
    sys.exit("scripts/duplicate-dependencies.txt is missing")


def allowed(expression: str) -> bool:
    """SPDX: a choice (OR) needs one acceptable licence, a conjunction (AND) all of them."""
    tokens = re.findall(r"\(|\)|\bAND\b|\bOR\b|[^\s()/]+(?: WITH [^\s()]+)?|/", expression)

    def either():
        value = both()
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            other = both()
            value = value or other
        return value

    def both():
        value = atom()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            other = atom()
            value = value and other
        return value

    def atom():
        token = tokens.pop(0)
        if token == "(":
            value = either()
            tokens.pop(0)
            return value
        return token in LICENCES

    return either()


def main() -> int:
    raw = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--locked", "--all-features"],
        check=True, capture_output=True, text=True,
    ).stdout
    metadata = json.loads(raw)
    ours = set(metadata["workspace_members"])
    packages = {package["id"]: package for package in metadata["packages"]}
    # Only what the resolver really uses, on the platform we ship: `cargo tree` names it.
    tree = subprocess.run(
        ["cargo", "tree", "--workspace", "--locked", "--edges=all", "--prefix=none", "--format={p}|{l}", "--target=x86_64-unknown-linux-gnu"],
        check=True, capture_output=True, text=True,
    ).stdout
    used = set()
    for line in tree.splitlines():
        match = re.match(r"(\S+) v([^\s|]+)", line)
        if match:
            used.add(match.groups())

    breaches = []
    versions = collections.defaultdict(set)
    for package in packages.values():
        name, version = package["name"], package["version"]
        if (name, version) not in used:
            continue
        if name in BANNED:
            breaches.append(f"{name} {version} is banned: {BANNED[name]}; see `cargo tree -i {name}`")
        if package["id"] not in ours:
            versions[name].add(version)
            licence = package["license"] or ""
            if not licence or not allowed(licence):
                breaches.append(f"{name} {version}: licence {licence or '(none)'} is not on the list")
        elif package["license"] != "Apache-2.0":
            breaches.append(f"{name}: our own packages are Apache-2.0")
    for name, found in sorted(versions.items()):
        if len(found) > 1 and name not in DUPLICATES:
            breaches.append(f"{name}: versions {', '.join(sorted(found))}; unify, or add a line with the reason to scripts/duplicate-dependencies.txt")
    for name in sorted(DUPLICATES):
        if len(versions.get(name, ())) < 2:
            breaches.append(f"scripts/duplicate-dependencies.txt: {name} has one version now, the line can go")
        elif not DUPLICATES[name]:
            breaches.append(f"scripts/duplicate-dependencies.txt: {name} has no reason")

    for breach in breaches:
        print(breach)
    print(f"dependency policy: {len(used)} packages, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())

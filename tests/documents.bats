#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The pictures of the documents show what their sources say. tests/readme.bats tries the commands.

setup() {
	cd "$BATS_TEST_DIRNAME/../doc" || return 1
}

# texts FILE.svg: the lines of text that the picture shows.
texts() {
	sed -nE 's|.*<text[^>]*>(.*)</text>|\1|p' "$1" | sort
}

@test "each picture was drawn from its present source by the present script" {
	for graph in *.dot; do
		echo "$graph: run doc/draw"
		grep -F "made by doc/draw from $graph, SHA-256 $(cat draw "$graph" | sha256sum | cut -c 1-64)" "${graph%.dot}.svg"
	done
}

@test "each picture shows the labels of its source, and is XML" {
	for graph in *.dot; do
		grep -o 'label="[^"]*"' "$graph" | sed 's/^label="//; s/"$//; s/\\n/\n/g' | sort >"$BATS_TEST_TMPDIR/labels"
		texts "${graph%.dot}.svg" | diff "$BATS_TEST_TMPDIR/labels" -
		/usr/bin/python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "${graph%.dot}.svg"
	done
	if command -v dot; then
		./draw "$BATS_TEST_TMPDIR"
		for picture in "$BATS_TEST_TMPDIR"/*.svg; do
			diff <(texts "$picture") <(texts "${picture##*/}")
		done
	fi
}

@test "the picture of the benchmarks shows bench/results.json" {
	PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 ../bench/report.py ../bench/results.json "$BATS_TEST_TMPDIR/results.svg"
	cmp "$BATS_TEST_TMPDIR/results.svg" ../bench/results.svg
}

# anchors FILE.md: those that its headings have on GitHub.
anchors() {
	sed -nE 's/^#+ //p' "$1" | tr '[:upper:] ' '[:lower:]-' | tr -cd 'a-z0-9_\n-'
}

@test "each link between the documents leads somewhere" {
	cd ..
	for document in *.md doc/*.md; do
		grep -oE '\]\([^)]+\)' "$document" | sed 's/^](//; s/)$//' | while IFS='#' read -r path anchor; do
			[[ $path != *://* ]] || continue
			echo "$document: $path#$anchor"
			target=$document
			[ -z "$path" ] || target=$(dirname "$document")/$path
			[ -e "$target" ]
			[ -z "$anchor" ] || anchors "$target" | grep -qxF -e "$anchor"
		done
	done
}

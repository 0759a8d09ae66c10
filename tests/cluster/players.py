"""The player of videos of tests: it accepts an address or file whose content looks like one."""

from typing import Final

PLAYER: Final = """#!/bin/sh
for word; do
  case "${word##*=}" in
    *.webm) grep -q webm "${word##*=}" ;;
    *.srt) grep -q -e '-->' "${word##*=}" ;;
    *) false ;;
  esac || exit 1
done
"""

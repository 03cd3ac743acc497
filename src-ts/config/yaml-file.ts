/** Options from a YAML file. Every problem tells the line and column it was found at. */
import { Buffer, isUtf8 } from 'node:buffer';
import { closeSync, openSync, readSync } from 'node:fs';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { displayName } from '../errors/text.js';
import { checkOptions, type Entry } from './entries.js';
import type { IssueList } from './issues.js';
import type { OptionName } from './option-table.js';
import { Place } from './place.js';
import { findExcess } from './yaml-bounds.js';

/** Thousands of layers by name. */
const MOST_BYTES = 256 * 1024;
const REFUSED = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * Reads and checks an option file.
 *
 * @param path - of the file; relative paths count from the working directory
 */
export function readYamlFile(path: string, issues: IssueList): Map<OptionName, Entry> {
  const file = new Place(issues, path, 'file');
  let bytes: Buffer;
  try {
    bytes = readSome(path, MOST_BYTES + 1);
  } catch (cause) {
    file.refuse('a readable YAML file', undefined, {
      received: errnoOf(cause),
      hint: 'Check the path and permissions of the option file.',
      cause,
    });
    return new Map();
  }
  const refuse = (expected: string, received: string) =>
    file.refuse(expected, undefined, { received, hint: "Write options as 'bitWidth: 4', one a line, in UTF-8." });
  if (bytes.length > MOST_BYTES) refuse(`a YAML file of at most ${MOST_BYTES} bytes`, 'more');
  else if (!isUtf8(bytes)) refuse('a YAML file in UTF-8', 'other bytes');
  else return parseYaml(bytes.toString(), path, issues);
  return new Map();
}

/** The beginning of a file, which may be a device without an end. */
function readSome(path: string, most: number): Buffer {
  const bytes = Buffer.alloc(most);
  const file = openSync(path, 'r');
  try {
    let length = 0;
    for (let read = -1; read !== 0 && length < most; length += read) {
      read = readSync(file, bytes, length, most - length, null);
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

/** Parses and checks the text of an option file; `path` is used in messages only. */
function parseYaml(text: string, path: string, issues: IssueList): Map<OptionName, Entry> {
  const lines = new LineCounter();
  const excess = findExcess(text, lines);
  const at = (offset: number | undefined) => {
    const { line, col } = lines.linePos(offset ?? 0);
    return `${path}:${line}:${col}`;
  };
  if (excess !== undefined) {
    const hint = 'Give layers by globs instead of one by one.';
    new Place(issues, at(excess.offset), 'file').refuse(excess.expected, undefined, { received: 'more', hint });
    return new Map();
  }
  // A key that is a list or a record would be written out as text, at every level again.
  const document = parseDocument(text, { prettyErrors: false, stringKeys: true });
  for (const error of document.errors) {
    new Place(issues, at(error.pos[0]), 'file').refuse('valid YAML', undefined, {
      received: displayName(error.message),
      hint: 'Correct the YAML there.',
      cause: error,
    });
  }
  if (document.errors.length > 0 || document.contents === null) return new Map();
  if (!isMap(document.contents)) {
    new Place(issues, at(document.contents.range?.[0]), 'file').refuse(
      'a mapping of option names to values',
      undefined,
      {
        received: 'something else',
        hint: "Write options as 'bitWidth: 4', one a line.",
      },
    );
    return new Map();
  }

  const values = new Map<string, unknown>();
  const offsets = new Map<string, number | undefined>();
  for (const { key, value } of document.contents.items) {
    const start = isScalar(key) ? key.range?.[0] : undefined;
    const name = isScalar(key) ? String(key.value) : 'a key that is no text';
    const place = new Place(issues, `${at(start)} ${name}`, 'file');
    if (!isScalar(key) || REFUSED.has(name)) {
      place.refuse('a known option', undefined, {
        received: 'a refused name',
        message: `Refused option name "${name}".`,
      });
      continue;
    }
    offsets.set(name, (value as { range?: readonly number[] } | null)?.range?.[0] ?? start);
    try {
      // A missing value (`bitWidth:`) is null in YAML and refused like any null.
      values.set(name, isNode(value) ? value.toJS(document) : null);
    } catch (cause) {
      place.refuse('a readable property', undefined, { received: 'an alias that cannot be resolved', cause });
    }
  }
  return checkOptions(values, 'file', (name) => new Place(issues, `${at(offsets.get(name))} ${name}`, 'file'));
}

function isNode(value: unknown): value is { toJS(document: unknown): unknown } {
  return typeof value === 'object' && value !== null && 'toJS' in value;
}

function errnoOf(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return typeof code === 'string' ? code : 'a file that cannot be read';
}

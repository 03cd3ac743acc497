/** An error as a person reads it in a terminal. */

import { flattenCauses } from '../errors/causes.js';
import { ArrowQuantError, ConfigurationError, isArrowQuantError } from '../errors/classes.js';
import { sentenceOf } from '../errors/sentence.js';
import { displayName, escapeText } from '../errors/text.js';
import type { Palette } from './colour.js';
import { wrap } from './terminal-text.js';

/** Columns of a label with what surrounds it. */
const LABEL = 9;

export interface ErrorStyle {
  readonly palette: Palette;
  /** Columns. */
  readonly width: number;
  /** With stack and causes. */
  readonly verbose: boolean;
}

/** Lines without a trailing line break. */
export function renderError(error: unknown, style: ErrorStyle): string {
  const { red, dim } = style.palette;
  if (!(error instanceof ArrowQuantError)) {
    const text =
      error instanceof Error ? (style.verbose ? (error.stack ?? error.message) : error.message) : String(error);
    return `${red('error')} ${escapeLines(text)}`;
  }
  const label = (name: string) => `  ${dim(name.padEnd(6))} `;
  // Our own texts arrive escaped; an error that was revived from JSON may hold anything.
  const lines = [`${red('error')} ${escapeText(`${error.code}  ${error.title}`)}`];
  const body = error instanceof ConfigurationError ? issueLines(error) : [bodyOf(error)];
  for (const text of body) lines.push(...wrap(escapeText(text), style.width - 2).map((line) => `  ${line}`));
  const facts = factsOf(error);
  if (facts !== '') lines.push(...labelled(label('layer'), facts, style));
  if (error.context.elapsedMs > 0 && error.context.phase !== 'config') {
    lines.push(`${label('phase')}${escapeText(error.context.phase)}, ${(error.context.elapsedMs / 1000).toFixed(1)} s`);
  }
  lines.push(...actionLines(error, style, label));
  lines.push(`${label('more')}arrow-quant explain ${escapeText(error.code)}`);
  if (style.verbose) lines.push(...verboseLines(error, label));
  return lines.join('\n');
}

function issueLines(error: ConfigurationError): string[] {
  return error.issues.map(({ path, expected, received, message }) => {
    // The advice of a single problem holds it already.
    const question = error.issues.length > 1 ? /did you mean ([^?]+\?)$/i.exec(message)?.[1] : undefined;
    const meant = question === undefined ? '' : `; did you mean ${question}`;
    return `${path}  expected ${expected}, received ${received}${meant}`;
  });
}

/** Layer and counts of a failed validation have a line of their own. */
function bodyOf(error: ArrowQuantError): string {
  const sentence = sentenceOf(error);
  return isArrowQuantError(error, 'AQ_VALIDATION_FAILED')
    ? sentence.replace(/^[^:]+: /, '').replace(/ \(layer.*$/s, '')
    : sentence;
}

function factsOf(error: ArrowQuantError): string {
  if (!isArrowQuantError(error, 'AQ_VALIDATION_FAILED')) return '';
  const { layer, bitWidth, failedCount, layerCount } = error.details;
  return escapeText(`${displayName(layer)} (INT${bitWidth}), ${failedCount} of ${layerCount} layers failed`);
}

function actionLines(error: ArrowQuantError, style: ErrorStyle, label: (name: string) => string): string[] {
  // All are listed above; a terminal has no error.issues.
  const hint =
    error instanceof ConfigurationError ? error.hint.replace('; all are kept in error.issues', '') : error.hint;
  const actions =
    error.suggestions.length > 1 ? error.suggestions.map((text, index) => `${index + 1}. ${text}`) : [hint];
  return labelled(label('try'), actions.map(escapeText).join('\n'), style);
}

/** A text of one or several lines, broken to stand beside its label. */
function labelled(label: string, text: string, { width }: ErrorStyle): string[] {
  const lines = text.split('\n').flatMap((line) => wrap(line, width - LABEL));
  return lines.map((line, index) => (index === 0 ? label : ' '.repeat(LABEL)) + line);
}

function verboseLines(error: ArrowQuantError, label: (name: string) => string): string[] {
  const causes = flattenCauses(error).map(
    ({ name, message, code }) => label('cause') + escapeText(`${name}${code === null ? '' : ` ${code}`}: ${message}`),
  );
  const frames = (error.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
  return [...causes, ...frames.map(escapeText)];
}

function escapeLines(text: string): string {
  return text.split('\n').map(escapeText).join('\n');
}

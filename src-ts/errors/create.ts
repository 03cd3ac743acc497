/** Errors born in the facade. Those of the native side arrive complete (throw-native.ts). */
import { ERROR_CATALOG } from '../generated/error-catalog.js';
import {
  AbortError,
  ArrowQuantError,
  type ArrowQuantErrorOptions,
  ConfigurationError,
  MetadataError,
  ModelNotFoundError,
  QuantizationError,
  ShapeMismatchError,
  ValidationError,
} from './classes.js';
import type { ErrorCode, ErrorContext, ErrorDetails, Phase, SerializedError } from './details.js';

/** What every error of one public call shares. */
export interface CallInfo {
  readonly operation: string;
  readonly startedAt: number;
  readonly callSite: string | undefined;
  readonly modelPath?: string | null;
  readonly outputPath?: string | null;
  readonly jobId?: string | null;
}

interface ErrorTexts<C extends ErrorCode> {
  /** The sentence; hint or suggestions are appended. */
  readonly sentence: string;
  /** One action, or several in order of usefulness. */
  readonly actions: readonly [string, ...string[]];
  readonly details: ErrorDetails[C];
  readonly phase?: Phase;
  readonly layer?: string;
}

/** Makes the error of a code with the class the catalogue names. */
export function createError<C extends ErrorCode>(
  code: C,
  texts: ErrorTexts<C>,
  call: CallInfo,
  options?: ErrorOptions,
): ArrowQuantError<C> {
  const row = ERROR_CATALOG[code];
  const { actions } = texts;
  const advice =
    actions.length === 1
      ? `Hint: ${actions[0]}`
      : `Suggestions: ${actions.map((action, index) => `(${index + 1}) ${action}`).join(', ')}.`;
  const init: SerializedError<C> = {
    v: 1,
    name: row.className,
    code,
    title: row.title,
    message: `${texts.sentence} ${advice}`,
    hint: actions[0],
    suggestions: [...actions],
    category: row.category,
    severity: row.severity,
    kind: row.kind,
    retryable: row.retryable,
    retryAfterMs: null,
    details: texts.details,
    context: contextOf(call, texts.phase ?? 'config', texts.layer ?? null),
    causes: [],
  };
  return instantiate(init, { ...options, ...(call.callSite === undefined ? {} : { callSite: call.callSite }) });
}

/** The class a code belongs to, filled with `init`; the base class for a code this version does not know. */
export function instantiate<C extends ErrorCode>(
  init: SerializedError<C>,
  options?: ArrowQuantErrorOptions,
): ArrowQuantError<C> {
  const Class = CLASSES[className(init.code) ?? 'ArrowQuantError'] as unknown as new (
    init: SerializedError<C>,
    options?: ArrowQuantErrorOptions,
  ) => ArrowQuantError<C>;
  return new Class(init, options);
}

/** The class name of a code, or undefined where the code is unknown. */
export function className(code: string): keyof typeof CLASSES | undefined {
  return Object.hasOwn(ERROR_CATALOG, code) ? ERROR_CATALOG[code as ErrorCode].className : undefined;
}

function contextOf(call: CallInfo, phase: Phase, layer: string | null): ErrorContext {
  return {
    operation: call.operation,
    phase,
    jobId: call.jobId ?? null,
    timestamp: new Date().toISOString(),
    elapsedMs: Math.max(0, Math.round(performance.now() - call.startedAt)),
    modelPath: call.modelPath ?? null,
    outputPath: call.outputPath ?? null,
    file: null,
    offset: null,
    layer,
    device: null,
    attempt: 1,
  };
}

const CLASSES = {
  ArrowQuantError,
  QuantizationError,
  ConfigurationError,
  ValidationError,
  ModelNotFoundError,
  MetadataError,
  ShapeMismatchError,
  AbortError,
} as const;

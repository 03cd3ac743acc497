/**
 * The error classes: one base, six that people catch, and AbortError.
 *
 * `instanceof` asks for a brand and not for the prototype chain, because two copies of the package in one process
 * (nested installs) have different prototypes but mean the same errors.
 */
import { flattenCauses } from './causes.js';
import type {
  ConfigIssue,
  ConfigurationErrorCode,
  ErrorCategory,
  ErrorCode,
  ErrorContext,
  ErrorDetails,
  ErrorKind,
  ErrorSeverity,
  MetadataErrorCode,
  QuantizationErrorCode,
  SerializedError,
} from './details.js';

// Symbol.for: the same symbol in every copy of the package.
const BRAND: unique symbol = Symbol.for('arrow-quant.error') as never;

/** Name and brand live on the prototype: an own `name` would be printed by the console with every error. */
function install(cls: { readonly className: string; readonly prototype: object }): void {
  const brands = cls.className === 'ArrowQuantError' ? ['ArrowQuantError'] : ['ArrowQuantError', cls.className];
  Object.defineProperty(cls.prototype, 'name', { value: cls.className, configurable: true, writable: true });
  Object.defineProperty(cls.prototype, BRAND, { value: Object.freeze(brands), configurable: true });
}

/** Further arguments of the constructor; `cause` as in every Error. */
export interface ArrowQuantErrorOptions extends ErrorOptions {
  /** What the failed job had done until then. */
  readonly report?: object;
  /** Stack frames of the caller, without a header line. */
  readonly callSite?: string;
}

/** The base of all errors this package throws. Branch on `code`; `message` is prose and may change. */
export class ArrowQuantError<C extends ErrorCode = ErrorCode> extends Error {
  static readonly className: string = 'ArrowQuantError';
  declare readonly name: string;
  declare readonly [BRAND]: readonly string[];
  readonly code: C;
  readonly details: ErrorDetails[C];
  // The rest is own but not enumerable: the message already carries the hint, and console output stays short.
  declare readonly hint: string;
  declare readonly suggestions: readonly string[];
  declare readonly title: string;
  declare readonly category: ErrorCategory;
  declare readonly severity: ErrorSeverity;
  declare readonly kind: ErrorKind;
  /** True where the same call may succeed later. */
  declare readonly retryable: boolean;
  /** Milliseconds; undefined where nothing is known. */
  declare readonly retryAfterMs: number | undefined;
  declare readonly context: ErrorContext;
  /** What the failed job had done until then, where there was a job. */
  declare readonly report: object | undefined;

  constructor(init: SerializedError<C>, options?: ArrowQuantErrorOptions) {
    super(init.message, options);
    this.code = init.code;
    this.details = init.details;
    const { hint, suggestions, title, category, severity, kind, retryable, context } = init;
    const retryAfterMs = init.retryAfterMs ?? undefined;
    const report = options?.report;
    const quiet = { hint, suggestions, title, category, severity, kind, retryable, retryAfterMs, context, report };
    for (const [key, value] of Object.entries(quiet)) {
      Object.defineProperty(this, key, { value, configurable: true });
    }
    if (options?.callSite !== undefined) this.stack = `${this.name}: ${this.message}\n${options.callSite}`;
  }

  /** Without stack and report; causes flattened, at most 8. Called by JSON.stringify. */
  toJSON(): SerializedError<C> {
    const { name, code, title, message, hint, suggestions, category, severity, kind, retryable } = this;
    const { details, context } = this;
    const retryAfterMs = this.retryAfterMs ?? null;
    const causes = flattenCauses(this);
    return {
      v: 1,
      name,
      code,
      title,
      message,
      hint,
      suggestions,
      category,
      severity,
      kind,
      retryable,
      retryAfterMs,
      details,
      context,
      causes,
    };
  }

  static override [Symbol.hasInstance](this: { readonly className?: string }, value: unknown): boolean {
    // A user's own subclass has no className of its own and keeps ordinary semantics.
    if (!Object.hasOwn(this, 'className')) return Function.prototype[Symbol.hasInstance].call(this as never, value);
    const brands =
      typeof value === 'object' && value !== null ? (value as { readonly [BRAND]?: unknown })[BRAND] : undefined;
    return Array.isArray(brands) && brands.includes(this.className);
  }

  static {
    install(this);
  }
}

/** Something went wrong while doing the work. */
export class QuantizationError<C extends QuantizationErrorCode = QuantizationErrorCode> extends ArrowQuantError<C> {
  static override readonly className: string = 'QuantizationError';
  declare readonly name: 'QuantizationError';
  static {
    install(this);
  }
}

/** The call is wrong and nothing was changed. */
export class ConfigurationError<C extends ConfigurationErrorCode = ConfigurationErrorCode> extends ArrowQuantError<C> {
  static override readonly className: string = 'ConfigurationError';
  declare readonly name: 'ConfigurationError';
  static {
    install(this);
  }
  /** Everything that is wrong with the options, at least one. */
  get issues(): readonly ConfigIssue[] {
    return this.details.issues;
  }
}

/** The work was done and is not good enough. */
export class ValidationError extends ArrowQuantError<'AQ_VALIDATION_FAILED'> {
  static override readonly className: string = 'ValidationError';
  declare readonly name: 'ValidationError';
  static {
    install(this);
  }
  /** Of the worst layer, 0 to 1. */
  get similarity(): number {
    return this.details.similarity;
  }
  get threshold(): number {
    return this.details.threshold;
  }
}

/** Nothing is at an input path. */
export class ModelNotFoundError extends ArrowQuantError<'AQ_MODEL_NOT_FOUND'> {
  static override readonly className: string = 'ModelNotFoundError';
  declare readonly name: 'ModelNotFoundError';
  static {
    install(this);
  }
  get path(): string {
    return this.details.path;
  }
}

/** What a model says about itself is missing, contradictory, unsupported or untrue. */
export class MetadataError<C extends MetadataErrorCode = MetadataErrorCode> extends ArrowQuantError<C> {
  static override readonly className: string = 'MetadataError';
  declare readonly name: 'MetadataError';
  static {
    install(this);
  }
  get path(): string {
    return this.details.path;
  }
}

/** Two shapes that must agree do not. */
export class ShapeMismatchError extends ArrowQuantError<'AQ_SHAPE_MISMATCH'> {
  static override readonly className: string = 'ShapeMismatchError';
  declare readonly name: 'ShapeMismatchError';
  static {
    install(this);
  }
  get expected(): readonly number[] {
    return this.details.expected;
  }
  get actual(): readonly number[] {
    return this.details.actual;
  }
}

/** The caller's signal was aborted; `cause` is `signal.reason` itself. */
export class AbortError extends ArrowQuantError<'AQ_ABORTED'> {
  static override readonly className: string = 'AbortError';
  declare readonly name: 'AbortError';
  static {
    install(this);
  }
}

/** A union over the codes, so that a switch on `.code` narrows `.details`. */
export type AnyArrowQuantError = { [C in ErrorCode]: ArrowQuantError<C> }[ErrorCode];

/**
 * Whether a value is an error of this package (of any copy of it).
 *
 * @param value - anything, such as what `catch` received
 */
export function isArrowQuantError(value: unknown): value is AnyArrowQuantError;
/**
 * Whether a value is an error of this package, and of one code.
 *
 * @param value - anything, such as what `catch` received
 * @param code - the code to ask for
 */
export function isArrowQuantError<C extends ErrorCode>(value: unknown, code: C): value is ArrowQuantError<C>;
export function isArrowQuantError(value: unknown, code?: ErrorCode): boolean {
  return value instanceof ArrowQuantError && (code === undefined || value.code === code);
}

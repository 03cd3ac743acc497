/** Collects everything that is wrong with the options of one call, and makes one error of it. */
import type { ConfigurationError } from '../errors/classes.js';
import { type CallInfo, createError } from '../errors/create.js';
import type { ConfigIssue, ConfigurationErrorCode } from '../errors/details.js';
import { displayName } from '../errors/text.js';
import { ERROR_CATALOG } from '../generated/error-catalog.js';
import { describeReceived } from './received.js';

const MAX_KEPT = 50;
const MAX_SHOWN = 5;
// Keeps a message with five long paths under the 2,000 characters an error message may have.
const MAX_LIST = 1_500;

type Source = ConfigIssue['source'];
type OptionCode = Exclude<ConfigurationErrorCode, 'AQ_OUTPUT_EXISTS' | 'AQ_RESUME_MISMATCH'>;

/** What is known of a problem besides its place. */
export interface Problem {
  readonly expected: string;
  /** The value, or text already describing it. */
  readonly received: { readonly value: unknown } | string;
  readonly code?: OptionCode;
  /** What to do about this one, when it is the only one. */
  readonly hint?: string;
  /** Replaces the usual sentence. */
  readonly message?: string;
  /** What a getter or parser threw. */
  readonly cause?: unknown;
}

/** Takes problems. Everything that checks a value gets one and need not know in which list it ends. */
export interface IssueSink {
  /** Whether nothing was added through this sink. */
  readonly empty: boolean;
  add(path: string, source: Source, problem: Problem): void;
}

/** The problems of one call, in the order of the option table. */
export class IssueList implements IssueSink {
  readonly #kept: ConfigIssue[] = [];
  #count = 0;
  #firstHint: string | undefined;
  #cause: { readonly value: unknown } | undefined;

  get empty(): boolean {
    return this.#count === 0;
  }

  add(path: string, source: Source, problem: Problem): void {
    const { expected, code = 'AQ_INVALID_CONFIG' } = problem;
    const received = typeof problem.received === 'string' ? problem.received : describeReceived(problem.received.value);
    const shownPath = displayName(path);
    const message = problem.message ?? `Expected ${expected} for ${shownPath} but received ${received}.`;
    this.#count += 1;
    if (this.#count === 1) this.#firstHint = problem.hint;
    if ('cause' in problem) this.#cause ??= { value: problem.cause };
    if (this.#kept.length < MAX_KEPT) {
      this.#kept.push(Object.freeze({ path: shownPath, expected, received, message, code, source }));
    }
  }

  /** @throws ConfigurationError where anything was added */
  throwIfAny(call: CallInfo): void {
    if (!this.empty) throw this.toError(call);
  }

  toError(call: CallInfo): ConfigurationError {
    const codes = new Set(this.#kept.map((issue) => issue.code));
    const [only] = codes;
    const code = (codes.size === 1 && only !== undefined ? only : 'AQ_INVALID_CONFIG') as OptionCode;
    const [first] = this.#kept;
    const single = this.#count === 1 && first !== undefined;
    const hint = single ? (this.#firstHint ?? ERROR_CATALOG[code].hint) : ERROR_CATALOG.AQ_INVALID_CONFIG.hint;
    const options = this.#cause === undefined ? undefined : { cause: this.#cause.value };
    return createError(
      code,
      {
        sentence: single ? sentenceOf(first) : this.#sentenceOfAll(),
        actions: [hint],
        details: { issues: Object.freeze([...this.#kept]) },
      },
      call,
      options,
    ) as ConfigurationError;
  }

  #sentenceOfAll(): string {
    const shown: string[] = [];
    let length = 0;
    for (const { path, expected, received } of this.#kept.slice(0, MAX_SHOWN)) {
      const text = `${path}: expected ${expected}, received ${received}`;
      length += text.length;
      if (shown.length > 0 && length > MAX_LIST) break;
      shown.push(text);
    }
    const rest = this.#count - shown.length;
    if (rest > 0) shown.push(`and ${rest} more`);
    return `Invalid configuration, ${this.#count} problems: ${shown.join('; ')}.`;
  }
}

const SUBJECTS: Readonly<Record<Exclude<OptionCode, 'AQ_INVALID_CONFIG'>, { name: string; option: string }>> = {
  AQ_INVALID_BIT_WIDTH: { name: 'bit width', option: 'bitWidth' },
  AQ_INVALID_GROUP_SIZE: { name: 'group size', option: 'groupSize' },
  AQ_INVALID_TIME_GROUPS: { name: 'time groups', option: 'numTimeGroups' },
  AQ_INVALID_ACCURACY: { name: 'accuracy threshold', option: 'minAccuracy' },
};

function sentenceOf(issue: ConfigIssue): string {
  const { code, path, expected, received } = issue;
  if (!Object.hasOwn(SUBJECTS, code)) return `Invalid option ${path}: expected ${expected}, received ${received}.`;
  const subject = SUBJECTS[code as keyof typeof SUBJECTS];
  // A number stands bare; everything else keeps its type.
  const bare = received.endsWith(' (number)') ? received.slice(0, -' (number)'.length) : received;
  const place = path === subject.option ? '' : ` for ${path}`;
  const must = code === 'AQ_INVALID_ACCURACY' ? 'between 0.0 and 1.0' : expected;
  return `Invalid ${subject.name}${place}: ${bare}. Must be ${must}.`;
}

/** The catalogue for readers: which codes there are and what each means. */
import { IssueList } from '../config/issues.js';
import { Place } from '../config/place.js';
import { ERROR_CATALOG } from '../generated/error-catalog.js';
import { beginCall } from './call-site.js';
import type { ErrorCategory, ErrorCode, ErrorKind, ErrorSeverity } from './details.js';

/** What is true of every error of a code. A single error may be classified more sharply (I/O by its errno). */
export interface ErrorExplanation {
  readonly code: ErrorCode;
  readonly className: string;
  readonly title: string;
  readonly category: ErrorCategory;
  readonly severity: ErrorSeverity;
  readonly kind: ErrorKind;
  readonly retryable: boolean;
  readonly hint: string;
}

/** Every code, sorted. */
export const ERROR_CODES: readonly ErrorCode[] = Object.freeze((Object.keys(ERROR_CATALOG) as ErrorCode[]).sort());

/**
 * The catalogue row of a code.
 *
 * @throws ConfigurationError where there is no such code
 */
export function explainError(code: ErrorCode): ErrorExplanation {
  if (typeof code === 'string' && Object.hasOwn(ERROR_CATALOG, code)) return { code, ...ERROR_CATALOG[code] };
  const issues = new IssueList();
  new Place(issues, 'code', 'option', 'ERROR_CODES lists every code.').refuse("a code such as 'AQ_IO'", code);
  throw issues.toError(beginCall('explainError', explainError));
}

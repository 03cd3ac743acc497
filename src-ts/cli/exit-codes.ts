/** Exit codes. 3 to 19 stay unused, since Node gives some of them meanings of its own. */
import { ArrowQuantError } from '../errors/classes.js';

const BY_CLASS: Readonly<Record<string, number>> = {
  ConfigurationError: 2,
  ModelNotFoundError: 20,
  MetadataError: 21,
  ShapeMismatchError: 22,
  ValidationError: 23,
  QuantizationError: 24,
};

/** The code of `validate` when the quality does not suffice: the same as a ValidationError's. */
export const BELOW_THRESHOLD = 23;

/** The code of a failure; aborts count as SIGTERM only where that signal is the reason. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof ArrowQuantError)) return 1;
  if (error.code === 'AQ_INTERNAL') return 70;
  if (error.code === 'AQ_ABORTED') return error.cause === 'SIGTERM' ? 143 : 130;
  return BY_CLASS[error.name] ?? 1;
}

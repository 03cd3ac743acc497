/** What the addon logs. Nothing is printed unless this, the option `logLevel` or `ARROW_QUANT_LOG` asks for it. */
import { IssueList } from './config/issues.js';
import { OPTION_TABLE } from './config/option-table.js';
import type { LogLevel } from './config/options.js';
import { Place } from './config/place.js';
import { beginCall } from './errors/call-site.js';
import { loadNative } from './native.js';

/**
 * Sets what is logged on stderr, for the whole process, from now on.
 *
 * @throws ConfigurationError for anything but a level
 */
export async function setLogLevel(level: LogLevel): Promise<void> {
  const call = beginCall('setLogLevel', setLogLevel);
  const issues = new IssueList();
  OPTION_TABLE.logLevel.check(level, new Place(issues, 'logLevel', 'option', OPTION_TABLE.logLevel.hint));
  issues.throwIfAny(call);
  (await loadNative(call)).setLogLevel(level);
}

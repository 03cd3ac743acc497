/** Where a value stands: its path for messages, the source it came from, and the list that takes its problems. */
import type { ConfigIssue } from '../errors/details.js';
import type { IssueSink, Problem } from './issues.js';

export class Place {
  readonly path: string;
  readonly source: ConfigIssue['source'];
  readonly #issues: IssueSink;
  readonly #hint: string | undefined;

  constructor(issues: IssueSink, path: string, source: ConfigIssue['source'] = 'option', hint?: string) {
    this.#issues = issues;
    this.path = path;
    this.source = source;
    this.#hint = hint;
  }

  /** Notes a refused value. Returns undefined, which everywhere means "no valid value". */
  refuse(expected: string, value: unknown, more: Partial<Problem> = {}): undefined {
    const hint = more.hint ?? this.#hint;
    this.#issues.add(this.path, this.source, {
      expected,
      received: { value },
      ...more,
      ...(hint === undefined ? {} : { hint }),
    });
    return undefined;
  }

  /** The same source, another path. */
  at(path: string): Place {
    return new Place(this.#issues, path, this.source, this.#hint);
  }

  /** `skipLayers[2]`, `layerBitWidths["name"]`. */
  child(key: number | string): Place {
    return this.at(`${this.path}[${typeof key === 'number' ? key : `"${key}"`}]`);
  }

  /** The same place, with advice for the case that it alone is wrong. */
  withHint(hint: string): Place {
    return new Place(this.#issues, this.path, this.source, hint);
  }
}

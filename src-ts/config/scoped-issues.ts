/** A part of a call whose problems stand under a path of their own, such as one job of a list. */
import type { ConfigIssue } from '../errors/details.js';
import type { IssueSink, Problem } from './issues.js';

export class ScopedIssues implements IssueSink {
  readonly #outer: IssueSink;
  readonly #pathOf: (path: string) => string;
  #empty = true;

  /** @param pathOf - from the path inside this part to the path in the whole call */
  constructor(outer: IssueSink, pathOf: (path: string) => string) {
    this.#outer = outer;
    this.#pathOf = pathOf;
  }

  get empty(): boolean {
    return this.#empty;
  }

  add(path: string, source: ConfigIssue['source'], problem: Problem): void {
    this.#empty = false;
    this.#outer.add(this.#pathOf(path), source, problem);
  }
}

/** Bytes a second over the last seconds: a mean over the whole job would hide that it got slow. */

const WINDOW_MS = 5_000;
/** A shorter stretch says nothing. */
const LEAST_MS = 300;

export class Throughput {
  readonly #samples: { readonly at: number; readonly bytes: number }[] = [];

  /** Notes how many bytes are done in all. */
  add(at: number, bytes: number): void {
    const last = this.#samples.at(-1);
    // Samples of one moment would only take room.
    if (last !== undefined && at - last.at < 50) this.#samples.pop();
    this.#samples.push({ at, bytes });
    // One that is older than the window stays, so that there is always something to compare with.
    while ((this.#samples[1]?.at ?? at) < at - WINDOW_MS) this.#samples.shift();
  }

  /** null until it is known. */
  bytesPerSecond(now: number): number | null {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || now - first.at < LEAST_MS) return null;
    return last.bytes === 0 ? null : ((last.bytes - first.bytes) / (now - first.at)) * 1000;
  }
}

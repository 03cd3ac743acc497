/**
 * `process.exit()` and an uncaught exception end the process without the addon's own cleanup. While jobs run, one
 * listener tells them to stop and waits a moment for them to remove what they had staged.
 */
import type { NativeModule } from './native.js';

let running = 0;
let stop: (() => void) | undefined;

/** Runs a job under the guard. */
export async function guardExit<T>(native: NativeModule, work: () => Promise<T>): Promise<T> {
  running += 1;
  if (stop === undefined) {
    stop = () => native.stopJobs();
    process.on('exit', stop);
  }
  try {
    return await work();
  } finally {
    running -= 1;
    if (running === 0 && stop !== undefined) {
      process.off('exit', stop);
      stop = undefined;
    }
  }
}

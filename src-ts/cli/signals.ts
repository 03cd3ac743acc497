/** Ctrl-C and SIGTERM while a job runs. Only the command line installs handlers; the library never does. */

/** Runs work with a signal that SIGINT and SIGTERM abort. A second SIGINT ends the process, with the moment that the exit guard gives jobs. */
export async function withSignals<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    if (controller.signal.aborted && name === 'SIGINT') process.exit(130);
    controller.abort(name);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

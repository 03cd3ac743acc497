/** A queue with one job at work: jobs use every core, so that two at once would each take twice as long. */

import { EventEmitter, once } from 'node:events';
import { quantizeDiffusionModel } from '../../dist/index.js';

const KEPT = 1000;
/** Proxies close connections on which nothing passes. */
const HEARTBEAT_MS = 15_000;

export class JobQueue {
  #jobs = new Map();
  #tail = Promise.resolve();
  #last = 0;

  get(id) {
    return this.#jobs.get(id);
  }

  get waiting() {
    return [...this.#jobs.values()].filter(({ state }) => state === 'queued').length;
  }

  /** @param optionsOf - those of `quantizeDiffusionModel` for a job of this id, without signal and callback */
  add(model, optionsOf) {
    this.#last += 1;
    const id = String(this.#last);
    const job = new Job(id, model, optionsOf(id));
    this.#jobs.set(job.id, job);
    this.#forgetOldest();
    this.#tail = this.#tail.then(() => job.run());
    return job;
  }

  /** Ends all jobs and resolves when the last one has tidied up. */
  async close() {
    for (const job of this.#jobs.values()) job.abort('the service is shutting down');
    await this.#tail;
  }

  #forgetOldest() {
    for (const [id, { settled }] of this.#jobs) {
      if (this.#jobs.size <= KEPT) return;
      if (settled) this.#jobs.delete(id);
    }
  }
}

class Job {
  state = 'queued';
  progress = null;
  report = null;
  error = null;
  #options;
  #controller = new AbortController();
  #changed = new EventEmitter().setMaxListeners(0);
  #version = 0;

  constructor(id, model, options) {
    this.id = id;
    this.model = model;
    this.#options = options;
  }

  get settled() {
    return this.state !== 'queued' && this.state !== 'running';
  }

  abort(reason) {
    this.#controller.abort(new Error(reason));
    // One that waits is run now: with its signal aborted the call rejects before it touches anything.
    return this.run();
  }

  /** Does nothing for a job that has run. */
  async run() {
    if (this.state !== 'queued') return;
    this.#become({ state: 'running' });
    try {
      const signal = this.#controller.signal;
      const onProgress = (progress) => this.#become({ progress });
      const report = await quantizeDiffusionModel({ ...this.#options, signal, onProgress });
      this.#become({ state: 'done', report });
    } catch (error) {
      this.#become({ state: error.code === 'AQ_ABORTED' ? 'aborted' : 'failed', error });
    }
  }

  /**
   * Server-sent events: `progress` as it comes, then one of `done`, `aborted` and `failed`, and the end. Who reads slowly gets the
   * newest only, so that nothing piles up; who comes late gets the outcome at once.
   */
  async *events(describe) {
    for (let told = -1; ; ) {
      if (this.#version === told) {
        const heartbeat = AbortSignal.timeout(HEARTBEAT_MS);
        const beat = await once(this.#changed, 'change', { signal: heartbeat }).then(
          () => '',
          () => ': still here\n\n',
        );
        if (beat) yield beat;
        continue;
      }
      told = this.#version;
      const { state, progress, settled } = this;
      const data = settled ? describe(this) : { state, ...progress };
      yield `event: ${settled ? state : 'progress'}\nid: ${told}\ndata: ${JSON.stringify(data)}\n\n`;
      if (settled) return;
    }
  }

  #become(change) {
    Object.assign(this, change);
    this.#version += 1;
    this.#changed.emit('change');
  }
}

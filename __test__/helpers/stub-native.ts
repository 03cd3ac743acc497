/** A stand-in for the addon. Tests set what a job does and see what it was asked. */

import { version } from '../../src-ts/generated/version.js';
import type { NativeJob, NativeModule, NativeRows, NativeTensor } from '../../src-ts/native.js';

export interface StubJob {
  readonly request: Record<string, unknown>;
  readonly cancelled: boolean;
  emit(event: unknown): void;
}

type Behaviour = (job: StubJob) => unknown;

/** The outcome of a successful job. */
export const success = (value: object = { warnings: [] }) => ({ ok: true, value });

/** An outcome with what happened on the way. */
export const withNotices = (outcome: object, ...notices: object[]) => ({
  ...outcome,
  notices: notices.map((notice, index) => ({ seq: index + 1, ...notice })),
});

/** The outcome of a failed one. */
export const failure = (code: string, name: string, more: object = {}) => ({
  ok: false,
  error: {
    v: 1,
    code,
    name,
    title: 'Title',
    message: 'Sentence. Hint: hint',
    hint: 'hint',
    suggestions: ['hint'],
    category: 'internal',
    severity: 'high',
    kind: 'system',
    retryable: false,
    retryAfterMs: null,
    details: {},
    context: { operation: 'x', phase: 'quantize' },
    causes: [],
    report: null,
    ...more,
  },
});

export class StubNative implements NativeModule {
  readonly jobs: StubJob[] = [];
  readonly tensors: { name: string; shape: number[]; config: unknown }[] = [];
  /** Returns the outcome; a string is passed on as it is. */
  behave: Behaviour = () => success();
  tensor: (name: string) => NativeTensor = (name) => ({
    outcome: JSON.stringify({ ok: true, value: { name } }),
    codes: new Uint8Array(1),
    scales: new Float32Array(1),
  });

  get NativeJob() {
    const stub = this;
    return class implements NativeJob {
      cancelled = false;
      readonly request: Record<string, unknown>;
      #emit: (event: string) => void = () => undefined;
      constructor(request: string) {
        this.request = JSON.parse(request);
        stub.jobs.push(this);
      }
      emit(event: unknown): void {
        this.#emit(typeof event === 'string' ? event : JSON.stringify(event));
      }
      async run(onProgress: (event: string) => void): Promise<string> {
        this.#emit = onProgress;
        const outcome = await stub.behave(this);
        return typeof outcome === 'string' ? outcome : JSON.stringify(outcome);
      }
      cancel(): void {
        this.cancelled = true;
      }
    };
  }

  version = () => version;
  systemInfo = () => JSON.stringify({ ok: true, value: {} });
  stopped = 0;
  stopJobs = () => {
    this.stopped += 1;
  };
  setLogLevel = (level: string) => JSON.stringify({ ok: true, value: { level } });
  async quantizeTensor(name: string, _data: Float32Array, shape: number[], config: string): Promise<NativeTensor> {
    this.tensors.push({ name, shape, config: JSON.parse(config) });
    return this.tensor(name);
  }
  readonly reads: { id: number; name: string; first: number; rows: number | undefined }[] = [];
  readonly closed: number[] = [];
  rows: () => NativeRows = () => ({ outcome: JSON.stringify(success({})), values: new Float32Array(1) });
  async readRows(id: number, name: string, first: number, rows: number | undefined): Promise<NativeRows> {
    this.reads.push({ id, name, first, rows });
    return this.rows();
  }
  closeModel(id: number): void {
    this.closed.push(id);
  }
}

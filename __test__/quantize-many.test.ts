/** Lists of jobs, with a stand-in for the addon. */
import path from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { AbortError, ConfigurationError, type ListProgressEvent, quantizeMany } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { failure, StubNative, success } from './helpers/stub-native.js';

let stub = new StubNative();
vi.mock('../src-ts/native.js', () => ({ loadNative: async () => stub }));
// What the stand-in makes is no output that a page could be about.
vi.mock('../src-ts/with-report.js', () => ({ withReport: async (result: object) => result }));
beforeEach(() => {
  stub = new StubNative();
});

const job = (name: string, more: object = {}) => ({
  modelPath: `/models/${name}`,
  outputPath: `/out/${name}`,
  ...more,
});
const event = { phase: 'quantize', fraction: 0.5, layersDone: 1, layersTotal: 2, layer: 'x', etaMs: null };
const nameOf = ({ request }: StubNative['jobs'][number]) => path.basename(request.modelPath as string);

test('one outcome for each job, in order, one job at a time', async () => {
  let running = 0;
  stub.behave = async (native) => {
    running += 1;
    expect(running).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    return nameOf(native) === 'b'
      ? failure('AQ_IO', 'QuantizationError', { report: { layers: [] } })
      : success({ name: nameOf(native) });
  };
  const outcomes = await quantizeMany([job('a', { config: 'edge' }), job('b'), job('c', { bitWidth: 8 })]);
  expect(outcomes).toMatchObject([
    { ok: true, report: { name: 'a' } },
    { ok: false, error: { code: 'AQ_IO', report: { layers: [] } } },
    { ok: true, report: { name: 'c' } },
  ]);
  expect(outcomes[1]).not.toHaveProperty('report');
  expect(stub.jobs.map(({ request }) => request.config)).toEqual([
    { deploymentProfile: 'edge' },
    { deploymentProfile: 'local' },
    { deploymentProfile: 'local', bitWidth: 8 },
  ]);
  expect(new Set(stub.jobs.map(({ request }) => request.jobId)).size).toBe(3);
});
test('an empty list has an empty answer', async () => {
  expect(await quantizeMany([])).toEqual([]);
});
test('progress tells which job; each job has one final event; a failing callback breaks nothing', async () => {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  onTestFinished(() => warned.mockRestore());
  stub.behave = (native) => {
    native.emit(event);
    return success();
  };
  const events: ListProgressEvent[] = [];
  const onProgress = (one: ListProgressEvent) => {
    events.push(one);
    if (one.job === 1) throw new Error('no');
  };
  const outcomes = await quantizeMany([job('a'), job('b')], { onProgress });
  expect(events.map(({ job: index, jobs, final }) => [index, jobs, final])).toEqual([
    [0, 2, false],
    [0, 2, true],
    [1, 2, false],
    [1, 2, true],
  ]);
  expect(outcomes).toMatchObject([
    { report: { callbackErrors: { count: 0 } } },
    { report: { callbackErrors: { count: 2 } } },
  ]);
});

describe('a bad list rejects before any job starts', () => {
  test('every problem of every job, with its place', async () => {
    const list = [
      job('a'),
      job('b', { config: { bitWidth: 3, skipLayers: ['x', 5] }, groupSize: 7 }),
      job('c', { config: 'mobile', bit_width: 4, outputPath: '' }),
      job('d', { outputPath: '/models/d' }),
      job('e', { config: { bitWidth: 4 }, bitWidth: 8 }),
      job('f', { signal: new AbortController().signal, onProgress: () => undefined }),
      null,
      job('g', { config: { minAcuracy: 1 } }),
    ];
    const error = (await caught(() => quantizeMany(list as never, { onProgres: 1 } as never))) as ConfigurationError;
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.code).toBe('AQ_INVALID_CONFIG');
    expect(error.issues.map((issue) => issue.path).sort()).toEqual(
      [
        'onProgres',
        '[1].config.bitWidth',
        '[1].config.skipLayers[1]',
        '[1].groupSize',
        '[2].config',
        '[2].bit_width',
        '[2].outputPath',
        '[3].outputPath',
        '[4].bitWidth',
        '[5].onProgress',
        '[5].signal',
        '[6]',
        '[6].modelPath',
        '[6].outputPath',
        '[7].config.minAcuracy',
      ].sort(),
    );
    expect(error.context.operation).toBe('quantizeMany');
    expect(error.stack).toContain(path.basename(import.meta.filename));
    expect(stub.jobs).toHaveLength(0);
  });
  test('one problem keeps its code', async () => {
    const error = await caught(() => quantizeMany([job('a', { config: { bitWidth: 3 } })] as never));
    expect(error).toMatchObject({ code: 'AQ_INVALID_BIT_WIDTH' });
    expect(error.message).toMatch(/^Invalid bit width for \[0\]\.config\.bitWidth: 3\. Must be 2, 4, or 8\./);
  });
  test.each([
    ['nothing', undefined],
    ['a single job', job('a')],
    ['too many', new Array(10_001)],
    ['a Set', new Set([job('a')])],
  ])('%s is no list', async (_, list) => {
    const error = (await caught(() => quantizeMany(list as never))) as ConfigurationError;
    expect(error.issues).toMatchObject([{ path: 'list', expected: 'an array of at most 10000 jobs' }]);
  });
  test('an absent element is no job, a list that throws is no list', async () => {
    const error = (await caught(() => quantizeMany(new Array(1)))) as ConfigurationError;
    expect(error.issues[0]).toMatchObject({ path: '[0]', expected: 'a plain object', received: 'null' });
    const cause = new Error('mine');
    const hostile = Object.defineProperty([job('a')], '0', {
      get() {
        throw cause;
      },
    });
    expect((await caught(() => quantizeMany(hostile))).cause).toBe(cause);
  });
});

describe('an abort ends the list', () => {
  test('before the call nothing starts', async () => {
    const error = await caught(() => quantizeMany([job('a')], { signal: AbortSignal.abort('x') }));
    expect(error).toBeInstanceOf(AbortError);
    expect(error).toMatchObject({ cause: 'x', report: { jobs: [] } });
    expect(stub.jobs).toHaveLength(0);
  });
  test('in a job: what was done until then is in the report', async () => {
    const controller = new AbortController();
    stub.behave = (native) => {
      if (nameOf(native) === 'a') return success({ name: 'a' });
      controller.abort('x');
      return native.cancelled ? failure('AQ_ABORTED', 'AbortError', { report: { layers: [] } }) : success();
    };
    const call = () => quantizeMany([job('a'), job('b'), job('c')], { signal: controller.signal });
    const error = await caught(call);
    expect(error).toBeInstanceOf(AbortError);
    expect(error.cause).toBe('x');
    expect(error.report).toEqual({ layers: [], jobs: [{ ok: true, report: { name: 'a' } }] });
    expect(stub.jobs).toHaveLength(2);
  });
  test('between jobs', async () => {
    const controller = new AbortController();
    stub.behave = () => {
      controller.abort();
      return success();
    };
    const error = await caught(() => quantizeMany([job('a'), job('b')], { signal: controller.signal }));
    expect(error).toMatchObject({ code: 'AQ_ABORTED', context: { modelPath: '/models/b' } });
    expect((error.report as { jobs: unknown[] }).jobs).toHaveLength(1);
  });
});

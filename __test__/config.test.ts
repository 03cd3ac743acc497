import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type ConfigurationError, DiffusionQuantConfig } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { tempDir } from './helpers/temp.js';

const make = (options: unknown) => () => new DiffusionQuantConfig(options as never);

afterEach(() => vi.unstubAllEnvs());

describe('values JSON cannot hold', () => {
  test.each([NaN, Infinity, -Infinity, 4n, new Number(4), Symbol('4'), () => 4, new Date()])(
    'bitWidth %s',
    async (bitWidth) => {
      const error = await caught(make({ bitWidth }));
      expect(error.code).toBe('AQ_INVALID_BIT_WIDTH');
      expect((error as ConfigurationError).issues).toMatchObject([{ path: 'bitWidth', expected: '2, 4, or 8' }]);
    },
  );
  test.each([NaN, Infinity, -Infinity])('minAccuracy %s', async (minAccuracy) => {
    expect((await caught(make({ minAccuracy }))).code).toBe('AQ_INVALID_ACCURACY');
  });
  test('4.0 is 4, -0 is 0, undefined is not given', () => {
    const config = new DiffusionQuantConfig({ bitWidth: 4.0 as 4, minAccuracy: -0, groupSize: undefined });
    expect(Object.is(config.minAccuracy, 0)).toBe(true);
    expect(config.given).toEqual({ bitWidth: 4, minAccuracy: 0 });
  });
  test.each([null, 5, [], 'mobile', new Map(), new (class {})(), () => ({})])('config %s', async (config) => {
    const error = (await caught(make(config))) as ConfigurationError;
    expect(error.issues).toMatchObject([
      { path: 'config', expected: 'a profile name, a plain object or a DiffusionQuantConfig' },
    ]);
  });
});

describe('hostile objects', () => {
  test('a getter that throws is the cause', async () => {
    const thrown = new Error('mine');
    const config = {
      get bitWidth(): number {
        throw thrown;
      },
    };
    const error = (await caught(make(config))) as ConfigurationError;
    expect(error.issues).toMatchObject([{ path: 'bitWidth', expected: 'a readable property' }]);
    expect(error.cause).toBe(thrown);
  });
  test('a getter is read once', () => {
    let reads = 0;
    const config = {
      get bitWidth() {
        reads += 1;
        return reads === 1 ? 4 : 'later';
      },
    };
    expect(make(config)().bitWidth).toBe(4);
    expect(reads).toBe(1);
  });
  test('proxies whose traps throw, and revoked ones', async () => {
    const trap = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error('trap');
        },
      },
    );
    expect((await caught(make(trap))).code).toBe('AQ_INVALID_CONFIG');
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect((await caught(make(proxy))).code).toBe('AQ_INVALID_CONFIG');
    expect((await caught(make({ skipLayers: proxy }))).code).toBe('AQ_INVALID_CONFIG');
  });
  test('arrays that throw, and arrays that give another length each time', async () => {
    const thrown = new Error('element');
    const throwing = new Proxy(['a'], {
      get: () => {
        throw thrown;
      },
    });
    expect(await caught(make({ skipLayers: throwing }))).toMatchObject({
      cause: thrown,
      issues: [{ path: 'skipLayers', expected: 'a readable property', received: 'an array that throws' }],
    });
    for (const lengths of [
      [1, 2 ** 40],
      [2 ** 40, 1],
      ['\u001b[31m', 1],
    ]) {
      let asked = 0;
      const lying = new Proxy([], { get: (_, key) => (key === 'length' ? lengths[asked++ % 2] : 5) });
      const { issues } = (await caught(make({ skipLayers: lying }))) as ConfigurationError;
      expect(issues.map(({ expected }) => expected)).toEqual(['an array of tensor names or globs']);
    }
  });
  test('what stands where another copy of the package keeps its entries is checked', async () => {
    const carrying = (entries: unknown) => ({ [Symbol.for('arrow-quant.config-entries')]: entries });
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    const throwing = new Proxy([], {
      get: () => {
        throw new Error('entry');
      },
    });
    expect((await caught(make(carrying([['bitWidth', 3, 'call']])))).code).toBe('AQ_INVALID_BIT_WIDTH');
    expect(await caught(make(carrying(throwing)))).toMatchObject({ issues: [{ path: 'config' }] });
    expect(await caught(make(carrying([throwing])))).toMatchObject({ issues: [{ path: 'config' }] });
    expect((await caught(make(carrying(proxy)))).code).toBe('AQ_INVALID_CONFIG');
  });
  test('symbol keys and __proto__ inside a nested record are refused, and no prototype changes', async () => {
    expect((await caught(make({ [Symbol('s')]: 1 }))).code).toBe('AQ_INVALID_CONFIG');
    const nested = JSON.parse('{"layerBitWidths":{"__proto__":{"polluted":8}}}');
    const error = (await caught(make(nested))) as ConfigurationError;
    expect(error.issues).toMatchObject([
      { path: 'layerBitWidths["__proto__"]', message: 'Refused option name "__proto__".' },
    ]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
  test('nothing in a message acts on a terminal', async () => {
    const title = '\u001b]0;x\u0007';
    const options = { modality: '\u001b[31m\u202e', [title]: 1, [Symbol(title) as never]: 1 };
    const error = (await caught(make(options))) as ConfigurationError;
    expect(error.issues).toHaveLength(3);
    const texts = [error.message, ...error.issues.flatMap((issue) => Object.values(issue))].join('');
    expect(texts).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });
  test('at most 50 issues are kept and the message tells the full number', async () => {
    const many = Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`unknown${i}`, i]));
    const error = (await caught(make(many))) as ConfigurationError;
    expect(error.issues).toHaveLength(50);
    expect(error.message).toContain('80 problems');
    expect(error.message).toContain('and 75 more');
  });
});

describe('names that are nearly right', () => {
  test.each([
    ['bit_width', 'bitWidth'],
    ['bit-width', 'bitWidth'],
    ['bitwidth', 'bitWidth'],
    ['bitWidht', 'bitWidth'],
    ['deployment_profile', 'deploymentProfile'],
  ])('%s', async (wrong, right) => {
    const error = (await caught(make({ [wrong]: 1 }))) as ConfigurationError;
    expect(error.issues[0]?.message).toBe(`Unknown option "${wrong}"; did you mean "${right}"?`);
  });
});

describe('valid configurations', () => {
  test('minAccuracy follows the width given, not the profile', () => {
    expect(new DiffusionQuantConfig({ deploymentProfile: 'cloud', bitWidth: 2 }).minAccuracy).toBe(0.9);
  });
  test('frozen all the way down', () => {
    const config = new DiffusionQuantConfig({ skipLayers: ['a'], layerBitWidths: { b: 8 } });
    expect(() => Object.assign(config, { bitWidth: 3 })).toThrow(TypeError);
    expect(() => (config.skipLayers as string[]).push('x')).toThrow(TypeError);
    expect(() => Object.assign(config.layerBitWidths, { x: 3 })).toThrow(TypeError);
  });
  test('toJSON gives all values and makes an equal configuration', () => {
    const config = new DiffusionQuantConfig({ bitWidth: 2, skipLayers: ['x'], modality: 'image' });
    const copy = new DiffusionQuantConfig(JSON.parse(JSON.stringify(config)));
    expect(JSON.stringify(copy)).toBe(JSON.stringify(config));
    expect(JSON.parse(JSON.stringify(config))).toMatchObject({ bitWidth: 2, groupSize: 64, modality: 'image' });
  });
});

describe('YAML', () => {
  const yaml = (text: string) => {
    const file = path.join(tempDir(), 'quant.yaml');
    writeFileSync(file, text);
    return file;
  };
  test('sets options', () => {
    const config = DiffusionQuantConfig.fromYaml(
      yaml('bitWidth: 8\nskipLayers: [proj_out]\nlayerBitWidths: { "a.*": 16 }\n'),
    );
    expect(config.given).toEqual({ bitWidth: 8, skipLayers: ['proj_out'], layerBitWidths: { 'a.*': 16 } });
  });
  test('a wrong value names file, line and column', async () => {
    const file = yaml('groupSize: 64\nbitWidth:   3\n');
    const error = (await caught(() => DiffusionQuantConfig.fromYaml(file))) as ConfigurationError;
    expect(error.code).toBe('AQ_INVALID_BIT_WIDTH');
    expect(error.issues).toMatchObject([{ path: `${file}:2:13 bitWidth`, source: 'file' }]);
  });
  test.each([
    ['bitWidth: [4', 'valid YAML'],
    ['- bitWidth', 'a mapping of option names to values'],
    ['bitWidth: 4\nbitWidth: 8', 'valid YAML'],
    ['__proto__:\n  bitWidth: 4', 'a known option'],
    ['bitWidth:', '2, 4, or 8'],
    ["bitWidth: '4'", '2, 4, or 8'],
    ['bit_width: 4', 'a known option'],
  ])('%j is refused', async (text, expected) => {
    const error = (await caught(() => DiffusionQuantConfig.fromYaml(yaml(text)))) as ConfigurationError;
    expect(error.issues[0]).toMatchObject({ expected, source: 'file' });
    expect(error.issues[0]?.path).toMatch(/quant\.yaml:\d+:\d+/);
  });
  test('an absent file is an invalid option with the errno as cause', async () => {
    const error = (await caught(() => DiffusionQuantConfig.fromYaml('/nowhere/quant.yaml'))) as ConfigurationError;
    expect(error.code).toBe('AQ_INVALID_CONFIG');
    expect(error.cause).toMatchObject({ code: 'ENOENT' });
  });
});

describe('environment', () => {
  test('every kind of value', () => {
    vi.stubEnv('ARROW_QUANT_BIT_WIDTH', '8');
    vi.stubEnv('ARROW_QUANT_MIN_ACCURACY', '.5');
    vi.stubEnv('ARROW_QUANT_SYMMETRIC', '1');
    vi.stubEnv('ARROW_QUANT_SKIP_LAYERS', 'a,b.*');
    vi.stubEnv('ARROW_QUANT_LAYER_BIT_WIDTHS', 'x=8,y=16');
    vi.stubEnv('ARROW_QUANT_LOG', 'debug');
    expect(DiffusionQuantConfig.fromEnv().given).toEqual({
      bitWidth: 8,
      minAccuracy: 0.5,
      symmetric: true,
      skipLayers: ['a', 'b.*'],
      layerBitWidths: { x: 8, y: 16 },
    });
  });
  test.each([
    ['ARROW_QUANT_BIT_WIDTH', 'four', 'AQ_INVALID_BIT_WIDTH'],
    ['ARROW_QUANT_BIT_WIDTH', ' 4', 'AQ_INVALID_BIT_WIDTH'],
    ['ARROW_QUANT_BIT_WIDTH', '', 'AQ_INVALID_BIT_WIDTH'],
    ['ARROW_QUANT_SYMMETRIC', 'yes', 'AQ_INVALID_CONFIG'],
    ['ARROW_QUANT_LAYER_BIT_WIDTHS', 'x', 'AQ_INVALID_CONFIG'],
    ['ARROW_QUANT_BITWIDTH', '4', 'AQ_INVALID_CONFIG'],
  ])('%s=%j is refused', async (variable, text, code) => {
    vi.stubEnv(variable, text);
    const error = (await caught(() => DiffusionQuantConfig.fromEnv())) as ConfigurationError;
    expect(error.code).toBe(code);
    expect(error.issues).toMatchObject([{ path: `env.${variable}`, source: 'env' }]);
  });
  test('call over environment over file over profile', () => {
    const file = path.join(tempDir(), 'q.yaml');
    writeFileSync(file, 'bitWidth: 2\ngroupSize: 32\nnumTimeGroups: 7\n');
    vi.stubEnv('ARROW_QUANT_GROUP_SIZE', '128');
    vi.stubEnv('ARROW_QUANT_NUM_TIME_GROUPS', '9');
    const fromFile = DiffusionQuantConfig.fromEnv(DiffusionQuantConfig.fromYaml(file));
    expect(fromFile).toMatchObject({ bitWidth: 2, groupSize: 128, numTimeGroups: 9, calibrationSamples: 128 });
    expect(DiffusionQuantConfig.fromEnv({ groupSize: 256 })).toMatchObject({ groupSize: 256, numTimeGroups: 9 });
  });
});

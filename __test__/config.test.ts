import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ConfigurationError, DiffusionQuantConfig, type ErrorCode, errorFromJSON } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { tempDir } from './helpers/temp.js';

interface BadConfig {
  readonly name: string;
  readonly config: object;
  readonly code: ErrorCode;
  readonly issues: readonly { code: string; path: string; expected: string; received: string }[];
}
const corpus: BadConfig[] = JSON.parse(
  readFileSync(path.join(import.meta.dirname, 'fixtures/config-corpus.json'), 'utf8'),
);
const make = (options: unknown) => () => new DiffusionQuantConfig(options as never);

afterEach(() => vi.unstubAllEnvs());

describe('corpus of bad configurations', () => {
  test.each(corpus)('$name', async ({ config, code, issues }) => {
    const error = await caught(make(config));
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.code).toBe(code);
    const found = (error as ConfigurationError).issues.map((issue) => ({
      code: issue.code,
      path: issue.path,
      expected: issue.expected,
      received: issue.received,
    }));
    expect(found).toEqual(issues);
    expect(error.message).toContain(`Hint: ${error.hint}`);
  });
});

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
  test('config validation comprehensive', () => {
    for (const bitWidth of [2, 4, 8] as const)
      for (const groupSize of [32, 64, 128, 256] as const)
        for (const modality of ['text', 'code', 'image', 'audio', 'video'] as const)
          for (const deploymentProfile of ['edge', 'local', 'cloud'] as const)
            for (const numTimeGroups of [1, 10, 100])
              for (const minAccuracy of [0, 0.7, 1]) {
                const given = { bitWidth, groupSize, modality, deploymentProfile, numTimeGroups, minAccuracy };
                expect(new DiffusionQuantConfig(given)).toMatchObject(given);
              }
  });
  test('profiles give exactly their values', () => {
    const values = (profile: 'edge' | 'local' | 'cloud') => {
      const {
        bitWidth,
        groupSize,
        numTimeGroups,
        enableSpatial,
        minAccuracy,
        calibrationSamples,
        method,
        symmetric,
        failFast,
      } = DiffusionQuantConfig.fromProfile(profile);
      return [
        bitWidth,
        groupSize,
        numTimeGroups,
        enableSpatial,
        minAccuracy,
        calibrationSamples,
        method,
        symmetric,
        failFast,
      ];
    };
    expect(values('edge')).toEqual([2, 64, 5, true, 0.9, 32, 'auto', false, false]);
    expect(values('local')).toEqual([4, 64, 10, true, 0.985, 128, 'auto', false, false]);
    expect(values('cloud')).toEqual([8, 128, 20, false, 0.9995, 512, 'auto', false, false]);
  });
  test.each(['mobile', undefined, '__proto__', 'constructor', null, 1])('fromProfile(%s) throws', (profile) => {
    expect(() => DiffusionQuantConfig.fromProfile(profile as never)).toThrow(ConfigurationError);
  });
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

test('random options: never a crash, short messages, errors survive JSON', () => {
  const names = ['bitWidth', 'skipLayers', 'layerBitWidths', 'modality', 'minAccuracy', 'numThreads', 'bit_width'];
  fc.assert(
    fc.property(
      fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), fc.anything({ withBigInt: true })),
      (options) => {
        try {
          new DiffusionQuantConfig(options as never);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigurationError);
          expect((error as Error).message.length).toBeLessThanOrEqual(2000);
          const json = JSON.stringify(error);
          expect(JSON.stringify(errorFromJSON(json))).toBe(json);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

/** Values that a caller may pass and nobody would expect: for properties that must hold for everything. */
import fc from 'fast-check';

/** How many cases a property is tried with; `AQ_TEST_LONG=1` for the nightly number. */
export const NUM_RUNS = process.env.AQ_TEST_LONG === '1' ? 10_000 : 200;
/** For a test of that many cases. */
export const LONG = { timeout: process.env.AQ_TEST_LONG === '1' ? 600_000 : 60_000 };

/** How to make a value. The values themselves would not survive being generated: fast-check looks into them. */
export interface Recipe<T = unknown> {
  /** For the report of a failed case. */
  readonly what: string;
  readonly make: () => T;
}

const fail = (thrown: unknown) => () => {
  throw thrown;
};

/** Pieces of a name that would act on a terminal, on the direction of text, or in a page. */
const ACTING = [
  '\u001b[31m',
  '\u001b]0;title\u0007',
  '\u009b2J',
  '\u0000',
  '\r\n',
  '\u007f',
  '\u202e',
  '\u2066',
  '\u200b',
  '\ufeff',
  '\u061c',
  '<img src=x onerror=alert(1)>',
  '</section><script>',
  `"'&<>`,
  '__proto__',
];

/** Names that hold such pieces between ordinary text. */
export const actingName: fc.Arbitrary<string> = fc
  .array(fc.oneof(fc.constantFrom(...ACTING), fc.string({ unit: 'grapheme', maxLength: 8 })), {
    minLength: 1,
    maxLength: 6,
  })
  .map((pieces) => pieces.join(''))
  .filter((name) => name !== '');

/** Names far longer than anybody would read. */
const longName = fc.tuple(actingName, fc.nat({ max: 500 })).map(([name, times]) => name.repeat(times + 1));

/** What must never reach a reader raw: control, bidirectional and zero-width characters. */
export const ACTS = /[\p{Cc}\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]/u;

const anything = fc.anything({
  withBigInt: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withObjectString: true,
  withSet: true,
  withSparseArray: true,
  withTypedArray: true,
});

const TRAPS = ['get', 'getOwnPropertyDescriptor', 'getPrototypeOf', 'has', 'ownKeys'] as const;

/** Proxies with a trap that throws; with 'all' they throw whatever is done with them. */
const trapped: fc.Arbitrary<Recipe> = fc
  .record({
    trap: fc.constantFrom(...TRAPS, 'all' as const),
    target: fc.constantFrom<object>({}, [], ['a', 'b'], () => 1),
    thrown: anything,
  })
  .map(({ trap, target, thrown }) => {
    const names = trap === 'all' ? TRAPS : [trap];
    const handler = Object.fromEntries(names.map((name) => [name, fail(thrown)]));
    return { what: `proxy of ${typeof target} with trap ${trap}`, make: () => new Proxy(target, handler) };
  });

const revoked: fc.Arbitrary<Recipe> = fc.constantFrom<object>({}, []).map((target) => ({
  what: 'revoked proxy',
  make: () => {
    const { proxy, revoke } = Proxy.revocable(target, {});
    revoke();
    return proxy;
  },
}));

/** Arrays that give another length each time they are asked, and elements that throw. */
const lyingArray: fc.Arbitrary<Recipe> = fc
  .array(fc.oneof(fc.constantFrom<unknown>(3, -1, 2 ** 40, Number.NaN, '\u001b[31m', null), fc.integer()), {
    minLength: 1,
  })
  .map((lengths) => ({
    what: `array of lengths ${lengths.map(String).join()}`,
    make: () => {
      let asked = 0;
      const get = (_: object, key: string | symbol) =>
        key === 'length' ? lengths[asked++ % lengths.length] : fail(new Error('element'))();
      return new Proxy([], { get });
    },
  }));

/** Functions and objects whose conversions throw, and one of a class. */
const speechless: fc.Arbitrary<Recipe> = fc.constantFrom<Recipe>(
  { what: 'function without text', make: () => Object.assign(() => 1, { toString: fail('toString') }) },
  {
    what: 'object without text',
    make: () => ({ toString: fail('toString'), [Symbol.toPrimitive]: fail('primitive') }),
  },
  { what: 'object without JSON', make: () => ({ toJSON: fail('toJSON') }) },
  { what: 'URL that is none', make: () => Object.create(URL.prototype) },
  {
    what: 'URL whose protocol acts',
    make: () => Object.create(URL.prototype, { protocol: { value: ACTING.join('') } }),
  },
  { what: 'object of a class', make: () => new (class Strange {})() },
);

const constant = (value: unknown): Recipe => ({ what: fc.stringify(value), make: () => value });

/** Any value, hostile ones as often as ordinary ones. */
export const hostileValue: fc.Arbitrary<Recipe> = fc.oneof(
  anything.map(constant),
  trapped,
  revoked,
  lyingArray,
  speechless,
  fc.string().map((text) => constant(Symbol(text))),
  fc.oneof(actingName, longName).map(constant),
);

/** How a member stands in an object. */
type Kind = 'value' | 'throws' | 'hidden';

/** Objects with members of such names, some of which throw when read. */
export function hostileObject(names: readonly (string | symbol)[]): fc.Arbitrary<Recipe<object>> {
  const key: fc.Arbitrary<string | symbol> = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...names) },
    {
      weight: 1,
      arbitrary: fc.oneof(actingName, longName, fc.string().map(Symbol), fc.constantFrom('constructor', 'prototype')),
    },
  );
  const kind = fc.constantFrom<Kind>('value', 'value', 'value', 'throws', 'hidden');
  const inner = fc.array(fc.tuple(fc.oneof(actingName, longName), hostileValue, kind), { maxLength: 4 });
  const nested = inner.map((list): Recipe => objectOf(list, false));
  const members = fc.array(fc.tuple(key, fc.oneof(hostileValue, nested), kind), { maxLength: 8 });
  return fc.tuple(members, fc.boolean()).map(([list, bare]) => objectOf(list, bare));
}

function objectOf(members: readonly (readonly [string | symbol, Recipe, Kind])[], bare: boolean): Recipe<object> {
  return {
    what: `{ ${members.map(([name, { what }, kind]) => `${String(name)} (${kind}): ${what}`).join(', ')} }`,
    make: () => {
      const object: object = bare ? Object.create(null) : {};
      for (const [name, { make }, kind] of members) {
        // Defined and not assigned, so that an own __proto__ comes out as JSON.parse makes it.
        const access = kind === 'throws' ? { get: fail(make()) } : { value: make(), writable: true };
        Object.defineProperty(object, name, { ...access, enumerable: kind !== 'hidden', configurable: true });
      }
      return object;
    },
  };
}

/** No test to run: it compiles only where the generated declarations of the addon are what the facade calls. */
import type * as addon from '../index.js';
import type { NativeModule } from '../src-ts/native.js';

type Assert<T extends true> = T;
export type AddonIsWhatTheFacadeCalls = Assert<typeof addon extends NativeModule ? true : false>;

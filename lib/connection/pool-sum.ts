import type { PoolState } from './pool-state.js';

/** The counters of several pools together; `undefined` where none has been used. */
export function sumOfPools(states: readonly (PoolState | undefined)[]): PoolState | undefined {
  const used = states.filter((state) => state !== undefined);
  if (used.length === 0) {
    return undefined;
  }
  const sum = (key: keyof PoolState): number =>
    used.reduce((total, state) => total + state[key], 0);
  return {
    size: sum('size'),
    checkedOut: sum('checkedOut'),
    idle: sum('idle'),
    waiting: sum('waiting'),
  };
}

import { BadRequestException, type PipeTransform } from '@nestjs/common';

type Check = (value: unknown) => boolean;

const MAX_INTEGER = 2 ** 31 - 1;
const MAX_AMOUNT_CENTS = 1_000_000_00;

export const isId: Check = (value) => isIntegerUpTo(value, MAX_INTEGER);
export const isAmount: Check = (value) => isIntegerUpTo(value, MAX_AMOUNT_CENTS);
export const isText: Check = (value) => typeof value === 'string' && value !== '';

function isIntegerUpTo(value: unknown, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= max;
}

/** Takes the named fields of a body and answers 400 when one of them does not pass its check. */
export class BodyPipe<T extends object> implements PipeTransform<unknown, T> {
  constructor(private readonly checks: Record<keyof T, Check>) {}

  transform(body: unknown): T {
    const given = (typeof body === 'object' && body !== null ? body : {}) as Partial<T>;
    const fields = Object.keys(this.checks) as (keyof T & string)[];
    const wrong = fields.filter((field) => !this.checks[field](given[field]));
    if (wrong.length > 0) {
      throw new BadRequestException(`Missing or out of range in the body: ${wrong.join(', ')}.`);
    }
    return Object.fromEntries(fields.map((field) => [field, given[field]])) as T;
  }
}

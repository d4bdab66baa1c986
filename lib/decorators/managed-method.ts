import { Inject } from '@nestjs/common';

import { DecoratorNotManagedError } from '../errors.js';

/** A call of a decorated method. */
export interface DecoratedCall {
  /** The method as it was declared, with its arguments. */
  readonly method: () => Promise<unknown>;
  /** `Class.method`, for messages. */
  readonly place: string;
  /** The class of the object, which may have inherited the method. */
  readonly owner: object;
  readonly key: string | symbol;
  /** The decorated method, with the metadata that the decorators below have given it. */
  readonly decorated: object;
  /** The method that its class has in the end, with the metadata of the decorators above as well. */
  readonly declared: object;
}

/** Runs a decorated method, with the service that Nest has injected into the object it belongs to. */
export type Around<Service> = (service: Service, call: DecoratedCall) => Promise<unknown>;

type AnyMethodDecorator = (
  target: object,
  key: string | symbol,
  descriptor: PropertyDescriptor,
) => void;

/**
 * Makes decorators of methods that need a service. Nest injects the service into a property that the
 * decorator declares, so that the class need not name it in its constructor.
 *
 * @returns a function that makes a decorator from its name, for errors, and from what it does
 */
export function decoratorsWith<Service extends object>(
  service: abstract new (...args: never[]) => Service,
): (decorator: string, around: Around<Service>) => AnyMethodDecorator {
  const property = Symbol(`nestjs-db-context:${service.name}`);
  return (decorator, around) => (target, key, descriptor) => {
    const original = descriptor.value as (...args: unknown[]) => unknown;
    if (!Object.hasOwn(target, property)) {
      // A second decorator in the class finds this property and declares nothing again. What Nest sets
      // on the instance hides it.
      Object.defineProperty(target, property, { value: undefined, writable: true });
      Inject(service)(target, property);
    }
    // Not an async function, which would return another promise than `around` has seen.
    const wrapped = function (
      this: { readonly [property]?: Service },
      ...args: unknown[]
    ): Promise<unknown> {
      const injected = this?.[property];
      if (injected === undefined) {
        return Promise.reject(
          new DecoratorNotManagedError(decorator, target.constructor.name, String(key)),
        );
      }
      // The class that the developer knows as the job, where the method is inherited.
      const owner = this.constructor;
      return around(injected, {
        method: async () => original.apply(this, args),
        place: `${owner.name}.${String(key)}`,
        owner,
        key,
        decorated: wrapped,
        declared: (Object.getOwnPropertyDescriptor(target, key)?.value ?? wrapped) as object,
      });
    };
    copyIdentity(original, wrapped);
    descriptor.value = wrapped;
  };
}

// A function in sloppy mode has its own `arguments` and `caller`, which cannot be defined on another one.
const NOT_COPIED: ReadonlySet<string | symbol> = new Set(['prototype', 'arguments', 'caller']);

/**
 * Copies properties and metadata of a function to the one that replaces it: other decorators keep there
 * what they need of the method.
 */
export function copyIdentity(from: object, to: object): void {
  for (const property of Reflect.ownKeys(from)) {
    if (!NOT_COPIED.has(property)) {
      Object.defineProperty(to, property, Object.getOwnPropertyDescriptor(from, property)!);
    }
  }
  for (const key of Reflect.getOwnMetadataKeys(from)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, from), to);
  }
}

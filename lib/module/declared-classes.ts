import { MetadataScanner, type ModulesContainer } from '@nestjs/core';

/** A method, as the class has it, which may have inherited it. */
export interface DeclaredMethod {
  readonly name: string;
  readonly method: object;
}

/** A class that Nest makes instances of. */
export interface DeclaredClass {
  readonly type: { readonly name: string } & object;
  readonly methods: readonly DeclaredMethod[];
}

/** The classes of all controllers and providers (gateways and resolvers are providers). */
export function declaredClasses(modules: ModulesContainer): readonly DeclaredClass[] {
  const scanner = new MetadataScanner();
  const found = new Map<object, DeclaredClass>();
  for (const { controllers, providers } of modules.values()) {
    for (const { metatype: type } of [...controllers.values(), ...providers.values()]) {
      // A provider of a value has no metatype, and that of a factory is a function, which may be an
      // arrow function without a prototype.
      const prototype = type?.prototype as Record<string, object> | undefined;
      if (type !== null && type !== undefined && prototype !== undefined) {
        const names = scanner.getAllMethodNames(prototype);
        const methods = names.map((name) => ({ name, method: prototype[name]! }));
        found.set(type, { type, methods });
      }
    }
  }
  return [...found.values()];
}

import {
  getOperationAST,
  Kind,
  type DirectiveNode,
  type DocumentNode,
  type FragmentDefinitionNode,
  type GraphQLResolveInfo,
  type OperationDefinitionNode,
  type SelectionNode,
} from 'graphql';

/** The values of the variables that a client has sent. */
export type Variables = Readonly<Record<string, unknown>>;

/** An operation of a document, as far as this library looks at it. */
export interface OperationShape {
  readonly kind: 'query' | 'mutation' | 'subscription';
  /** For messages: `mutation AddBook`, `query (authors, books)`. */
  readonly name: string;
  /** The names of its root fields by their keys in the answer, which are names or aliases. */
  readonly rootFields: ReadonlyMap<string, string>;
}

/**
 * What an operation asks for.
 *
 * @returns `undefined` where the document has no operation of this name; the server says so itself
 */
export function shapeOf(
  document: DocumentNode,
  operationName: string | null | undefined,
  variables: Variables = {},
): OperationShape | undefined {
  const operation = getOperationAST(document, operationName);
  if (operation === null || operation === undefined) {
    return undefined;
  }
  const rootFields = new Map<string, string>();
  const fragments = fragmentsOf(document);
  const values = { ...defaultsOf(operation), ...variables };
  collect(operation.selectionSet.selections, fragments, values, rootFields);
  const kind = operation.operation;
  const label = operation.name?.value ?? `(${[...rootFields.values()].join(', ')})`;
  return { kind, name: `${kind} ${label}`, rootFields };
}

/** What the operation of a field asks for. */
export function shapeOfField({
  operation,
  fragments,
  variableValues,
}: GraphQLResolveInfo): OperationShape {
  const definitions = [operation, ...Object.values(fragments)];
  // A document of one operation has the one that is asked for.
  return shapeOf({ kind: Kind.DOCUMENT, definitions }, undefined, variableValues)!;
}

function collect(
  selections: readonly SelectionNode[],
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
  variables: Variables,
  into: Map<string, string>,
): void {
  for (const selection of selections.filter((each) => isIncluded(each.directives, variables))) {
    if (selection.kind === Kind.FIELD) {
      into.set(selection.alias?.value ?? selection.name.value, selection.name.value);
    } else {
      const { selectionSet } =
        selection.kind === Kind.INLINE_FRAGMENT
          ? selection
          : // A validated document has all fragments that it names, and none that contains itself.
            fragments.get(selection.name.value)!;
      collect(selectionSet.selections, fragments, variables, into);
    }
  }
}

function isIncluded(directives: readonly DirectiveNode[] = [], variables: Variables): boolean {
  return directives.every(({ name, arguments: given = [] }) => {
    const condition = given.find((each) => each.name.value === 'if')?.value;
    const value =
      condition?.kind === Kind.VARIABLE
        ? variables[condition.name.value]
        : condition?.kind === Kind.BOOLEAN
          ? condition.value
          : undefined;
    return name.value === 'skip' ? value !== true : name.value !== 'include' || value !== false;
  });
}

function fragmentsOf(document: DocumentNode): ReadonlyMap<string, FragmentDefinitionNode> {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) {
      fragments.set(definition.name.value, definition);
    }
  }
  return fragments;
}

/** Only a boolean can be the condition of `@skip` and `@include`. */
function defaultsOf({ variableDefinitions = [] }: OperationDefinitionNode): Variables {
  return Object.fromEntries(
    variableDefinitions.flatMap(({ variable, defaultValue }) =>
      defaultValue?.kind === Kind.BOOLEAN ? [[variable.name.value, defaultValue.value]] : [],
    ),
  );
}

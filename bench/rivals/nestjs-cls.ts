/** `@nestjs-cls/transactional`, and the `nestjs-cls` that it asks for: the project itself is on the next one. */
export {
  ClsPluginTransactional,
  Transactional,
  TransactionHost,
  type TransactionalAdapter,
} from '@nestjs-cls/transactional';
export { ClsModule } from 'nestjs-cls';

/** TypeORM with `typeorm-transactional`. */
export { Column, DataSource, Entity, PrimaryGeneratedColumn, type Repository } from 'typeorm';
export {
  addTransactionalDataSource,
  initializeTransactionalContext,
  StorageDriver,
  Transactional,
} from 'typeorm-transactional';

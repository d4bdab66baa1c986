/** Stands for the driver of another database: its exports are undefined. */
export default undefined;

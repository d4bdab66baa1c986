/** What reports of the API say of declarations that a user cannot name; see `report-findings.mjs`. */
export function findingsOfReports(reports: ReadonlyMap<string, string>): readonly string[];

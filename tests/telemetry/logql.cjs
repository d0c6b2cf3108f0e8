// Reads LogQL queries (a JSON list on standard input) with Grafana's own grammar; prints where each cannot be read, as a JSON list.
// Usage: node logql.cjs DIRECTORY-OF-THE-PART
const { createRequire } = require("node:module");
const { parser } = createRequire(`${process.argv[2]}/`)("@grafana/lezer-logql");

function faults(query) {
  const found = [];
  parser.parse(query).iterate({
    enter(node) {
      if (node.type.isError) found.push(`at ${node.from}: ${query.slice(node.from, node.from + 20) || "the end"}`);
    },
  });
  return found;
}

const queries = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(queries.map(faults)));

package auditchain

// maxDepth bounds the nesting of a record; deeper ones are refused, which is a changed record: the manager's own are a few deep.
const maxDepth = 64

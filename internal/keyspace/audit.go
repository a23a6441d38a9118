package keyspace

import "fmt"

// Keys of the audit log, below AuditPrefix:
//
//	pending/<id>          a record, written with the change that it is about, that has no place in the chain yet
//	chain/<20 digits>     a record in the chain, by its number
//	state                 base and head of the chain
const (
	AuditPendingPrefix = AuditPrefix + "pending/"
	AuditChainPrefix   = AuditPrefix + "chain/"
	AuditState         = AuditPrefix + "state"
)

// AuditPending is the key of a record that waits for its place.
func AuditPending(id string) string { return AuditPendingPrefix + id }

// AuditRecord is the key of a record of the chain. The keys are in the order of the numbers.
func AuditRecord(sequence int64) string { return fmt.Sprintf("%s%020d", AuditChainPrefix, sequence) }

package keyspace

// Plurals of the kinds that say how the services of the cloud are announced.
const (
	BGPPeers          = "bgppeers"
	BGPAdvertisements = "bgpadvertisements"
)

// Replicas is the plural of the kind that shows live replicas. It has no keys below Root: what it shows is below LivePrefix.
const Replicas = "replicas"

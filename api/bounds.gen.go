// Code generated from openapi/ by bundle-openapi. DO NOT EDIT.

package api

// bound is how long a text, how many the items of a list or the members of a map may be.
type bound struct{ length, items, members int }

// boundsOf returns the bounds of the fields of a schema, by the names of the fields.
func boundsOf(schema string) map[string]bound {
	switch schema {
	case "ObjectMeta":
		return map[string]bound{
			"name":            {63, 0, 0},
			"uid":             {64, 0, 0},
			"labels":          {63, 0, 32},
			"annotations":     {4096, 0, 32},
			"resourceVersion": {20, 0, 0},
			"finalizers":      {128, 16, 0},
			"managedFields":   {0, 32, 0},
		}
	case "ListMeta":
		return map[string]bound{
			"continue": {1024, 0, 0},
		}
	case "Condition":
		return map[string]bound{
			"type":    {64, 0, 0},
			"reason":  {64, 0, 0},
			"message": {1024, 0, 0},
		}
	case "FieldError":
		return map[string]bound{
			"owner": {128, 0, 0},
		}
	case "NetworkSpec":
		return map[string]bound{
			"ipv4Prefix": {18, 0, 0},
			"ipv6Prefix": {49, 0, 0},
			"domain":     {189, 0, 0},
		}
	case "NetworkStatus":
		return map[string]bound{
			"ipv4Gateway": {15, 0, 0},
			"ipv6Gateway": {45, 0, 0},
			"conditions":  {0, 16, 0},
		}
	case "NodeSpec":
		return map[string]bound{
			"network":     {63, 0, 0},
			"fqdn":        {253, 0, 0},
			"virtualIPv4": {15, 0, 0},
			"virtualIPv6": {45, 0, 0},
		}
	case "NodeStatus":
		return map[string]bound{
			"fqdn":        {253, 0, 0},
			"virtualIPv4": {15, 0, 0},
			"virtualIPv6": {45, 0, 0},
			"nodeID":      {64, 0, 0},
			"conditions":  {0, 16, 0},
		}
	case "NodeAuthentication":
		return map[string]bound{
			"passwordHash": {256, 0, 0},
		}
	case "AdapterSpec":
		return map[string]bound{
			"network": {63, 0, 0},
		}
	case "AdapterStatus":
		return map[string]bound{
			"nodeID":     {64, 0, 0},
			"conditions": {0, 16, 0},
		}
	case "AdapterAuthentication":
		return map[string]bound{
			"passwordHash": {256, 0, 0},
		}
	case "GeneralNodeSpec":
		return map[string]bound{
			"network":     {63, 0, 0},
			"adapter":     {63, 0, 0},
			"fqdn":        {253, 0, 0},
			"virtualIPv4": {15, 0, 0},
			"virtualIPv6": {45, 0, 0},
		}
	case "GeneralNodeStatus":
		return map[string]bound{
			"fqdn":        {253, 0, 0},
			"virtualIPv4": {15, 0, 0},
			"virtualIPv6": {45, 0, 0},
			"nodeID":      {64, 0, 0},
			"reason":      {256, 0, 0},
			"conditions":  {0, 16, 0},
		}
	case "AccessPolicySpec":
		return map[string]bound{
			"network": {63, 0, 0},
			"from":    {0, 64, 0},
			"to":      {0, 64, 0},
			"rules":   {0, 32, 0},
		}
	case "AccessPolicyStatus":
		return map[string]bound{
			"conditions": {0, 16, 0},
		}
	case "Selector":
		return map[string]bound{
			"kinds":       {0, 2, 0},
			"names":       {63, 256, 0},
			"matchLabels": {63, 0, 16},
		}
	case "PolicyRule":
		return map[string]bound{
			"ports": {0, 32, 0},
		}
	case "CloudServiceSpec":
		return map[string]bound{
			"ipv4": {15, 0, 0},
			"ipv6": {45, 0, 0},
		}
	case "CloudServiceStatus":
		return map[string]bound{
			"announcedBy": {253, 256, 0},
			"conditions":  {0, 16, 0},
		}
	case "EnrollmentTokenSpec":
		return map[string]bound{
			"subjectName": {63, 0, 0},
		}
	case "EnrollmentTokenStatus":
		return map[string]bound{
			"token":     {128, 0, 0},
			"tokenHash": {64, 0, 0},
		}
	case "ManagedFields":
		return map[string]bound{
			"manager": {128, 0, 0},
			"fields":  {1024, 1024, 0},
		}
	case "RoleSpec":
		return map[string]bound{
			"rules": {0, 64, 0},
		}
	case "RoleStatus":
		return map[string]bound{
			"conditions": {0, 16, 0},
		}
	case "RoleBindingSpec":
		return map[string]bound{
			"role":     {63, 0, 0},
			"subjects": {0, 256, 0},
			"networks": {63, 256, 0},
		}
	case "RoleBindingStatus":
		return map[string]bound{
			"conditions": {0, 16, 0},
		}
	case "APITokenSpec":
		return map[string]bound{
			"description": {256, 0, 0},
			"rules":       {0, 64, 0},
		}
	case "APITokenStatus":
		return map[string]bound{
			"token":      {128, 0, 0},
			"tokenHash":  {64, 0, 0},
			"conditions": {0, 16, 0},
		}
	case "GitSourceSpec":
		return map[string]bound{
			"url":        {1024, 0, 0},
			"branch":     {255, 0, 0},
			"path":       {1024, 0, 0},
			"secretName": {63, 0, 0},
			"role":       {63, 0, 0},
		}
	case "GitSourceStatus":
		return map[string]bound{
			"observedCommit": {64, 0, 0},
			"appliedCommit":  {64, 0, 0},
			"failures":       {0, 50, 0},
			"conditions":     {0, 16, 0},
		}
	case "RoleRule":
		return map[string]bound{
			"verbs":    {0, 16, 0},
			"kinds":    {64, 32, 0},
			"networks": {63, 256, 0},
		}
	case "Subject":
		return map[string]bound{
			"name": {256, 0, 0},
		}
	case "GitFailure":
		return map[string]bound{
			"file":     {1024, 0, 0},
			"resource": {256, 0, 0},
			"pointer":  {1024, 0, 0},
			"message":  {1024, 0, 0},
		}
	case "BGPPeerSpec":
		return map[string]bound{
			"peerAddress":     {45, 0, 0},
			"localAddress":    {45, 0, 0},
			"hosts":           {253, 256, 0},
			"passwordSecret":  {63, 0, 0},
			"addressFamilies": {0, 2, 0},
		}
	case "BGPPeerStatus":
		return map[string]bound{
			"sessions":   {0, 256, 0},
			"conditions": {0, 16, 0},
		}
	case "BGPSession":
		return map[string]bound{
			"host":   {253, 0, 0},
			"reason": {256, 0, 0},
		}
	case "BGPAdvertisementSpec":
		return map[string]bound{
			"services":         {63, 64, 0},
			"peers":            {63, 64, 0},
			"hosts":            {253, 256, 0},
			"communities":      {32, 32, 0},
			"largeCommunities": {32, 32, 0},
		}
	case "BGPAdvertisementStatus":
		return map[string]bound{
			"prefixes":   {0, 256, 0},
			"conditions": {0, 16, 0},
		}
	case "AdvertisedPrefix":
		return map[string]bound{
			"prefix": {49, 0, 0},
			"hosts":  {253, 256, 0},
		}
	case "ReplicaMeta":
		return map[string]bound{
			"name":            {253, 0, 0},
			"uid":             {64, 0, 0},
			"resourceVersion": {20, 0, 0},
		}
	case "ReplicaSpec":
		return map[string]bound{
			"host": {253, 0, 0},
		}
	case "ReplicaStatus":
		return map[string]bound{
			"version":          {128, 0, 0},
			"addresses":        {45, 2, 0},
			"advertised":       {53, 2, 0},
			"drainRequestedBy": {256, 0, 0},
		}
	case "Event":
		return map[string]bound{
			"network": {63, 0, 0},
			"reason":  {64, 0, 0},
			"message": {1024, 0, 0},
			"source":  {64, 0, 0},
		}
	case "EventMeta":
		return map[string]bound{
			"name":            {253, 0, 0},
			"uid":             {64, 0, 0},
			"resourceVersion": {20, 0, 0},
		}
	case "Whoami":
		return map[string]bound{
			"kind":   {32, 0, 0},
			"name":   {256, 0, 0},
			"groups": {256, 256, 0},
			"roles":  {63, 256, 0},
		}
	case "AccessReview":
		return map[string]bound{
			"verb":    {32, 0, 0},
			"kind":    {64, 0, 0},
			"network": {63, 0, 0},
			"name":    {253, 0, 0},
		}
	case "AccessDecision":
		return map[string]bound{
			"reason": {1024, 0, 0},
		}
	case "AuditRecord":
		return map[string]bound{
			"requestId":     {64, 0, 0},
			"subject":       {256, 0, 0},
			"remoteAddress": {64, 0, 0},
			"verb":          {32, 0, 0},
			"kind":          {64, 0, 0},
			"name":          {253, 0, 0},
			"network":       {63, 0, 0},
			"reason":        {1024, 0, 0},
			"previousHash":  {64, 0, 0},
			"hash":          {64, 0, 0},
		}
	case "AuditBase":
		return map[string]bound{
			"hash": {64, 0, 0},
		}
	case "Reachability":
		return map[string]bound{
			"from":    {80, 0, 0},
			"to":      {80, 0, 0},
			"reasons": {0, 256, 0},
		}
	case "ReachableFlow":
		return map[string]bound{
			"policy": {63, 0, 0},
			"ports":  {11, 0, 0},
		}
	case "ReachabilityReason":
		return map[string]bound{
			"policy": {63, 0, 0},
			"reason": {1024, 0, 0},
		}
	case "PlanRequest":
		return map[string]bound{
			"items":        {0, 5000, 0},
			"fieldManager": {128, 0, 0},
			"applySet":     {63, 0, 0},
			"deletions":    {0, 5000, 0},
		}
	case "ObjectReference":
		return map[string]bound{
			"kind": {64, 0, 0},
			"name": {253, 0, 0},
			"uid":  {64, 0, 0},
		}
	case "ReachabilityDifference":
		return map[string]bound{
			"gained": {0, 100, 0},
			"lost":   {0, 100, 0},
		}
	case "ReachabilityChange":
		return map[string]bound{
			"from": {80, 0, 0},
			"to":   {80, 0, 0},
		}
	}
	return nil
}

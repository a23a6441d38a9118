// Package overlay brings up a CYPHONIC network on a lab with the programs as users run them: cyphonicctl makes keys,
// applies manifests and creates tokens; cyphonicd, cyphonic-node and cyphonic-adapter run in their hosts with their own
// configuration files; general nodes run nothing but a DHCP client. It uses no package of the programs: what a user
// cannot do, it cannot do.
package overlay

// Package cloud brings up a cloud of equal replicas in a lab: devices with thousands of addresses, routers of FRR or BIRD
// with equal-cost multipath in the kernel, hosts that each run replicas of AS, NMS and TRS beside a manager, a member of
// an etcd cluster and a speaker that announces the services, in the private or the public network design. It can do to
// them what befalls such systems, and read from the kernel of the router where traffic goes.
//
// It is for tests, measurements and for people who want to look around. It must not know what the tests look for.
package cloud

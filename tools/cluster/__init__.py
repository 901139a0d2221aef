"""A real Kubernetes cluster on one Linux machine, without Docker: what the demo and the cluster tests run on.

It uses the standard library only, because it runs before any virtual environment exists.

    python3 tools/cluster up [--fake-nodes N] [--gpus-per-node G]    start it, or bring it up to date
    python3 tools/cluster down                                       end it; images and tools stay cached
    python3 tools/cluster status                                     what runs; exit code 1 if not all of it does
    python3 tools/cluster kubeconfig                                 print the path of the administrator's kubeconfig
    python3 tools/cluster tools [NAME...]                            build tools, print the directory that holds them
    python3 tools/cluster load-image FILE...                         import oci-archives or docker-archives
    python3 tools/cluster build-image DOCKERFILE TAG [--build-arg NAME=VALUE ...]
                                                                     build with buildah and import as TAG
    python3 tools/cluster base-image                                 print the base image that builds use here

From the machine to a running pod:

    host_packages    runc, CNI plug-ins, buildah ...: Debian packages
    go_tools         kubelet, etcd, containerd ...: Go modules of tools/go, built once
    network          a network namespace of the cluster's own, reached from the host by routes
    pki              certificates and kubeconfigs
    processes        daemons: started, recognised, ended
    control_plane    etcd, API server, controller manager, scheduler
    node             containerd, kubelet, kube-proxy, DNS
    gpus             GPUs that no machine has: on the node, and on fake nodes
    images           the pause image, archives, builds
    buildah          builds, in a store of our own
    transfer         from that store into containerd's: only the layers that are new there
    base_image       python:3.13-slim, or its likeness made from Debian packages
    lifecycle        up, down, status: the only sequence
"""

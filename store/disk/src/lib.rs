//! The store on disk: content, layers, cache records, names, leases, garbage collection.

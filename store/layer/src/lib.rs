//! File trees and layer archives: whiteouts, canonical tar, digests, compression.

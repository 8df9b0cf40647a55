//! A client of the distribution protocol behind a blocking facade.

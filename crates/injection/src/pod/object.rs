//! Objects are read from JSON objects and from nothing else.
//!
//! Derived code would take a list of the fields in their order, too, which no other reader of the
//! same text does.

/// Implements `Deserialize` for types that derive it with `#[serde(remote = "Self")]`, so that they
/// are read from maps alone.
#[macro_export]
macro_rules! read_from_objects {
    ($($name:ident $(<$life:lifetime>)?),+ $(,)?) => { $(
        impl<'de $(: $life, $life)?> ::serde::Deserialize<'de> for $name $(<$life>)? {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> ::std::result::Result<Self, D::Error> {
                struct FromMap<T>(::std::marker::PhantomData<T>);

                impl<'de $(: $life, $life)?> ::serde::de::Visitor<'de> for FromMap<$name $(<$life>)?> {
                    type Value = $name $(<$life>)?;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: ::serde::de::MapAccess<'de>>(
                        self,
                        map: A,
                    ) -> ::std::result::Result<Self::Value, A::Error> {
                        $name::deserialize(::serde::de::value::MapAccessDeserializer::new(map))
                    }
                }

                from.deserialize_map(FromMap(::std::marker::PhantomData))
            }
        }
    )+ };
}

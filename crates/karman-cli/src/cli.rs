//! All commands and the flags they share.

use clap::{Parser, Subcommand};

use crate::commands::{
    audit, bake, build, cache, completions, constraints, doctor, image, inventory, login, report,
    run, sbom, sign, transfer, verify,
};
use crate::failure::Done;
use crate::setup::{Context, GlobalArgs};

/// Builds container images from Dockerfiles and bake files, without a daemon.
#[derive(Debug, Parser)]
#[command(name = "karman", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::Args>),
    /// Build the targets of bake files
    Bake(bake::Args),
    /// Run an image of the local store in the sandbox of builds
    Run(run::Args),
    /// List, show, name and remove images of the local store
    #[command(subcommand)]
    Image(image::Command),
    /// The same as `image ls`
    Images(image::LsArgs),
    /// List every path of an image with its origin
    Inventory(inventory::Args),
    /// Bring images of registries into the local store
    Pull(transfer::PullArgs),
    /// Bring images of the local store to their registries
    Push(transfer::PushArgs),
    /// Bring images of archives and directories into the local store
    Load(transfer::LoadArgs),
    /// Keep an account for a registry, where docker keeps it
    Login(login::LoginArgs),
    /// Forget an account
    Logout(login::LogoutArgs),
    /// Print the bill of materials of an image
    Sbom(sbom::Args),
    /// Report on images: sizes, origins of bytes, shared layers, findings, start-up times
    Report(report::ImageArgs),
    /// Report on the images of bake targets, and compare reports
    #[command(subcommand)]
    Fleet(report::FleetCommand),
    /// Build an image once more and compare; with --key, check its signatures
    Verify(Box<verify::Args>),
    /// Sign images with a key, as cosign does
    Sign(Box<sign::SignArgs>),
    /// Make a key pair for signatures
    GenerateKeyPair(sign::GenerateArgs),
    /// Look for what must not be in images, what is missing, and what they expose
    Audit(audit::Args),
    /// Show and prune what the store keeps
    #[command(subcommand)]
    Cache(cache::Command),
    /// Resolve, explain, check and fix the constraints of an OpenStack series
    #[command(subcommand)]
    Constraints(constraints::Command),
    /// Tell what this host can do, and how to fix what it cannot
    Doctor(doctor::Args),
    /// Print the completions of a shell
    Completions(completions::Args),
}

impl Cli {
    /// Runs the command; gives the exit code.
    pub(crate) fn run(self) -> Done {
        let global = self.global;
        match self.command {
            Command::Build(args) => build::run(*args, Context::load(global)?),
            Command::Bake(args) => bake::run(args, &Context::load(global)?),
            Command::Run(args) => run::run(args, &Context::load(global)?),
            Command::Image(command) => image::run(command, &Context::load(global)?),
            Command::Images(args) => image::run(image::Command::Ls(args), &Context::load(global)?),
            Command::Inventory(args) => inventory::run(&args, &Context::load(global)?),
            Command::Pull(args) => transfer::pull(&args, &Context::load(global)?),
            Command::Push(args) => transfer::push(&args, &Context::load(global)?),
            Command::Load(args) => transfer::load(&args, &Context::load(global)?),
            Command::Login(args) => login::login(&args, &Context::load(global)?),
            Command::Logout(args) => login::logout(&args, &Context::load(global)?),
            Command::Sbom(args) => sbom::run(&args, &Context::load(global)?),
            Command::Report(args) => report::run(&args, &Context::load(global)?),
            Command::Fleet(command) => report::fleet(&command, &Context::load(global)?),
            Command::Verify(args) => verify::run(*args, &Context::load(global)?),
            Command::Sign(args) => sign::sign(&args, &Context::load(global)?),
            Command::GenerateKeyPair(args) => sign::generate(&args, &Context::load(global)?.env),
            Command::Audit(args) => audit::run(&args, &Context::load(global)?),
            Command::Cache(command) => cache::run(command, &Context::load(global)?),
            Command::Constraints(command) => constraints::run(command, &Context::load(global)?),
            Command::Doctor(args) => doctor::run(&args, global),
            Command::Completions(args) => completions::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_are_well_formed() {
        super::Cli::command().debug_assert();
    }
}
